// The tracer's loop: one stop of one thread at a time, taken from waitpid.
//
//   entry of a call    take a turn, or wait for it; then CallRecorder::begin, and on to the exit
//   exit of a call     CallRecorder::finish; the turn goes to who waits longest
//   birth, exec, death keep the table of threads
//   signals, stops     passed on unchanged
//
// Deadlines are children that sleep: their end is one more thing that waitpid tells, so nothing
// else has to wake the loop.
#include "faultinject/ptrace_recorder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <exception>
#include <memory>
#include <set>
#include <thread>
#include <unordered_map>

#include "faultinject/call_recorder.h"
#include "faultinject/stack_reader.h"
#include "faultinject/syscall_filter.h"
#include "faultinject/tracee_start.h"

namespace crashgate::faultinject {
namespace {

using std::chrono::milliseconds;

/// For what the program leaves running, to end by itself.
constexpr milliseconds kGrace{200};

struct Thread {
  Tracee tracee;
  std::uint32_t process = 0;  // numbers of the trace
  std::uint32_t number = 0;
  std::optional<PendingCall> call;  // between its entry and its exit
  bool waits_for_turn = false;      // at the entry
  bool birth_is_told = false;       // by its parent's stop
};

/// A child that ends after a while.
class Alarm {
 public:
  Alarm() = default;
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;
  ~Alarm() { cancel(); }

  void set(milliseconds delay) {
    cancel();
    child_ = fork();
    if (child_ != 0) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close_range(0, ~0u, 0);  // somebody may wait for the last writer of a pipe of ours
    timespec rest = {delay.count() / 1000, delay.count() % 1000 * 1'000'000};
    while (nanosleep(&rest, &rest) != 0) {
    }
    _exit(0);
  }
  void cancel() {
    if (child_ > 0) {
      kill(child_, SIGKILL);
      waitpid(child_, nullptr, 0);
    }
    child_ = -1;
  }
  /// Whether it is this that ended; it is no more.
  bool is(pid_t ended) {
    if (child_ <= 0 || ended != child_) return false;
    child_ = -1;
    return true;
  }

 private:
  pid_t child_ = -1;
};

pid_t process_of(pid_t thread) {
  const std::string path = "/proc/" + std::to_string(thread) + "/status";
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return thread;
  pid_t process = thread;
  char line[256];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::sscanf(line, "Tgid: %d", &process) == 1) break;
  }
  std::fclose(file);
  return process;
}

std::string command_of(pid_t process) {
  const std::string path = "/proc/" + std::to_string(process) + "/comm";
  std::FILE* file = std::fopen(path.c_str(), "re");
  char name[64] = "?";
  if (file != nullptr) {
    if (std::fgets(name, sizeof name, file) != nullptr) name[std::strcspn(name, "\n")] = '\0';
    std::fclose(file);
  }
  return name;
}

class Tracer {
 public:
  /// `stacks`: null where none are wanted. `after_event`: see RecordOptions.
  Tracer(CallRecorder& calls, Recording& recording, StackReader* stacks,
         const std::function<void()>& after_event)
      : calls_(calls), recording_(recording), stacks_(stacks), after_event_(after_event) {}
  ~Tracer() {
    kill_all();
    while (!threads_.empty()) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, __WALL | __WNOTHREAD);
      if (pid < 0 && errno != EINTR) break;
      if (WIFEXITED(status) || WIFSIGNALED(status)) threads_.erase(pid);
      if (WIFSTOPPED(status)) ptrace(PTRACE_CONT, pid, nullptr, nullptr);
    }
  }

  /// `program` stands at the end of its exec.
  void run(pid_t program, std::optional<milliseconds> time_limit) {
    program_ = program;
    if (time_limit) time_limit_.set(*time_limit);
    resume(thread(program));
    while (!threads_.empty()) {
      int status = 0;
      const pid_t pid = waitpid(-1, &status, __WALL | __WNOTHREAD);
      if (pid < 0) {
        if (errno == EINTR) continue;
        break;
      }
      if (time_limit_.is(pid)) {
        recording_.timed_out = true;
        kill_all();
      } else if (grace_.is(pid)) {
        for (pid_t process : processes()) recording_.left_behind.push_back(command_of(process));
        kill_all();
      } else if (WIFSTOPPED(status)) {
        on_stop(pid, status);
      } else {
        on_death(pid, status);
      }
    }
  }

 private:
  Thread& thread(pid_t pid) {
    const auto found = threads_.find(pid);
    if (found != threads_.end()) return found->second;
    const pid_t process = process_of(pid);
    const auto [entry, is_new] = process_numbers_.try_emplace(process, last_process_);
    if (is_new) ++last_process_;
    if (killing_) kill(process, SIGKILL);  // born while all were being killed
    Thread born{Tracee(pid, process), entry->second, last_thread_++, {}};
    return threads_.emplace(pid, std::move(born)).first->second;
  }

  std::set<pid_t> processes() const {
    std::set<pid_t> found;
    for (const auto& [pid, each] : threads_) found.insert(each.tracee.process());
    return found;
  }

  void kill_all() {
    killing_ = true;
    for (pid_t process : processes()) kill(process, SIGKILL);
  }

  /// To the exit of the call under way, or to whatever comes next. A thread that has been killed
  /// meanwhile is told of by waitpid.
  static void resume(const Thread& thread, int signal = 0) {
    ptrace(thread.call ? PTRACE_SYSCALL : PTRACE_CONT, thread.tracee.thread(), nullptr,
           static_cast<long>(signal));
  }

  void on_stop(pid_t pid, int status) {
    const int event = status >> 16;
    const int signal = WSTOPSIG(status);
    Thread& stopped = thread(pid);
    switch (event) {
      case PTRACE_EVENT_SECCOMP:
        on_entry(stopped);
        return;
      case PTRACE_EVENT_EXEC:
        on_exec(stopped);
        return;
      case PTRACE_EVENT_EXIT:
        on_exit(stopped);
        return;
      case PTRACE_EVENT_STOP:
        // A stop of the whole process lasts until SIGCONT; else it is a thread's first stop.
        if (signal == SIGTRAP) break;
        ptrace(PTRACE_LISTEN, pid, nullptr, nullptr);
        return;
      case PTRACE_EVENT_FORK:
      case PTRACE_EVENT_VFORK:
      case PTRACE_EVENT_CLONE: {
        unsigned long child = 0;
        if (ptrace(PTRACE_GETEVENTMSG, pid, nullptr, &child) == 0) {
          on_birth(static_cast<pid_t>(child));
        }
        resume(threads_.at(pid));
        return;
      }
      case 0:
        if (signal == (SIGTRAP | 0x80)) {
          on_return(stopped);
        } else {
          resume(stopped, signal);
        }
        return;
      default:
        break;
    }
    resume(stopped);
  }

  /// False: the thread has been killed since it stopped. Its end is told next, or has come by now,
  /// and then must not be resumed away: see on_exit().
  static bool still_stands_at(int operation, const Thread& stopped, __ptrace_syscall_info& info) {
    return ptrace(PTRACE_GET_SYSCALL_INFO, stopped.tracee.thread(), sizeof info, &info) > 0 &&
           info.op == operation;
  }

  /// waitpid may tell of all the child's life before it tells of its birth.
  void on_birth(pid_t child) {
    if (dead_before_birth_.erase(child) == 0) thread(child).birth_is_told = true;
  }

  void on_entry(Thread& stopped) {
    __ptrace_syscall_info info = {};
    if (!still_stands_at(PTRACE_SYSCALL_INFO_SECCOMP, stopped, info)) return;
    if (info.seccomp.ret_data == static_cast<std::uint32_t>(FilterMark::kForeign)) {
      if (foreign_.insert(stopped.process).second) {
        calls_.add_unmodelled(stopped.process, stopped.number,
                              "system calls of another architecture (a 32-bit or x32 program): " +
                                  command_of(stopped.tracee.process()));
      }
      resume(stopped);
      return;
    }
    PendingCall& call = stopped.call.emplace();
    call.number = static_cast<long>(info.seccomp.nr);
    std::copy(std::begin(info.seccomp.args), std::end(info.seccomp.args), call.arguments.begin());
    call.event.process = stopped.process;
    call.event.thread = stopped.number;
    if (turn_ == 0) {
      begin(stopped);
    } else {
      stopped.waits_for_turn = true;
      waiting_.push_back(stopped.tracee.thread());
    }
  }

  void begin(Thread& stopped) {
    const auto course = calls_.begin(stopped.tracee, *stopped.call);
    if (course == CallRecorder::Course::kPass) {
      stopped.call.reset();
    } else if (stacks_ != nullptr) {
      stopped.call->event.stack =
          stacks_->read(stopped.tracee, stopped.process, stopped.call->event.begin);
    }
    if (course == CallRecorder::Course::kAlone) turn_ = stopped.tracee.thread();
    resume(stopped);
  }

  void on_return(Thread& stopped) {
    const pid_t pid = stopped.tracee.thread();
    __ptrace_syscall_info info = {};
    if (!still_stands_at(PTRACE_SYSCALL_INFO_EXIT, stopped, info)) return;
    if (stopped.call) {
      const std::size_t events_before = recording_.trace.events.size();
      const auto told = calls_.finish(stopped.tracee, *stopped.call, info.exit.rval, true);
      if (told) {
        ptrace(PTRACE_POKEUSER, pid, offsetof(user_regs_struct, rax), static_cast<long>(*told));
      }
      stopped.call.reset();
      if (after_event_ && storage_event_since(events_before)) after_event_();
    }
    resume(stopped);
    give_up_turn(pid);
  }

  bool storage_event_since(std::size_t index) const {
    const std::vector<TraceEvent>& events = recording_.trace.events;
    return events.size() > index && events.back().kind == EventKind::kStorage;
  }

  void give_up_turn(pid_t pid) {
    if (turn_ == pid) turn_ = 0;
    while (turn_ == 0 && !waiting_.empty()) {
      const auto next = threads_.find(waiting_.front());
      waiting_.pop_front();
      if (next == threads_.end() || !next->second.waits_for_turn) continue;
      next->second.waits_for_turn = false;
      begin(next->second);
    }
  }

  /// A thread about to end. A call that had its effect but did not get to its exit stop, since the
  /// thread was killed, has its result in the register that held -ENOSYS before.
  void on_exit(Thread& stopped) {
    const pid_t pid = stopped.tracee.thread();
    calls_.note_reaped(stopped.tracee);
    user_regs_struct registers = {};
    if (stopped.call && !stopped.waits_for_turn &&
        ptrace(PTRACE_GETREGS, pid, nullptr, &registers) == 0 &&
        static_cast<std::int64_t>(registers.rax) != -ENOSYS) {
      calls_.finish(stopped.tracee, *stopped.call, static_cast<std::int64_t>(registers.rax), false);
    }
    stopped.call.reset();
    stopped.waits_for_turn = false;
    resume(stopped);
    give_up_turn(pid);
  }

  /// The thread that called exec goes on under the number of its process, whichever it was.
  void on_exec(Thread& stopped) {
    const pid_t pid = stopped.tracee.thread();
    unsigned long message = 0;
    ptrace(PTRACE_GETEVENTMSG, pid, nullptr, &message);
    const auto former = static_cast<pid_t>(message);
    std::uint32_t number = stopped.number;
    if (const auto caller = threads_.find(former); former != pid && caller != threads_.end()) {
      number = caller->second.number;
      threads_.erase(caller);
    }
    stopped.number = number;
    stopped.call.reset();
    stopped.waits_for_turn = false;
    stopped.tracee = Tracee(pid, pid);
    if (stacks_ != nullptr) stacks_->forget(pid);
    resume(stopped);
    give_up_turn(pid);
  }

  void on_death(pid_t pid, int status) {
    const auto gone = threads_.find(pid);
    if (gone == threads_.end()) return;
    const pid_t process = gone->second.tracee.process();
    if (!gone->second.birth_is_told && pid != program_) dead_before_birth_.insert(pid);
    threads_.erase(gone);
    if (pid == process) {
      process_numbers_.erase(process);
      if (stacks_ != nullptr) stacks_->forget(pid);
    }
    give_up_turn(pid);
    if (pid != program_) return;
    if (WIFSIGNALED(status)) recording_.signal = WTERMSIG(status);
    if (WIFEXITED(status)) recording_.exit_status = WEXITSTATUS(status);
    time_limit_.cancel();
    if (!threads_.empty() && !killing_) grace_.set(kGrace);
  }

  CallRecorder& calls_;
  Recording& recording_;
  StackReader* stacks_;
  const std::function<void()>& after_event_;
  pid_t program_ = 0;
  std::unordered_map<pid_t, Thread> threads_;
  std::set<pid_t> dead_before_birth_;  // their parent's stop is still to come
  std::unordered_map<pid_t, std::uint32_t> process_numbers_;
  std::uint32_t last_process_ = 0;
  std::uint32_t last_thread_ = 0;
  pid_t turn_ = 0;             // whose storage call is under way
  std::deque<pid_t> waiting_;  // for the turn
  std::set<std::uint32_t> foreign_;
  bool killing_ = false;
  Alarm time_limit_;
  Alarm grace_;
};

tl::expected<Recording, TraceError> record(const RecordOptions& options) {
  const std::unique_ptr<char, void (*)(void*)> real(realpath(options.directory.c_str(), nullptr),
                                                    std::free);
  struct stat root;
  if (!options.directory.starts_with("/") || !real || stat(real.get(), &root) != 0 ||
      !S_ISDIR(root.st_mode)) {
    return tl::unexpected(
        TraceError{options.directory + ": not the absolute path of a directory", true});
  }
  Recording recording;
  Trace& trace = recording.trace;
  trace.recorder = "ptrace";
  trace.directory = options.directory;
  trace.command = options.command;
  utsname kernel;
  if (uname(&kernel) == 0) trace.kernel = kernel.release;

  const IgnoredPaths ignored(options.ignore_globs);
  FileNumbering numbering;
  auto initial = read_tree(real.get(), ignored, numbering, trace.bytes);
  if (!initial) return tl::unexpected(initial.error());
  trace.initial = std::move(*initial);

  auto output = ProgramOutput::create(options.terminal, options.output_copy);
  if (!output) return tl::unexpected(output.error());
  std::vector<std::string> environment = options.environment;
  environment.push_back("CRASHGATE_DIR=" + options.directory);
  CallRecorder calls(trace, {real.get(), root.st_dev, ignored, numbering}, **output,
                     options.disk_stamp);
  {
    StackReader stacks(trace.code);
    Tracer tracer(calls, recording, options.stacks ? &stacks : nullptr, options.after_event);
    const auto program = start_traced({options.command, environment, options.directory,
                                       (*output)->program_end(), options.stacks});
    if (!program) return tl::unexpected(program.error());
    tracer.run(*program, options.time_limit);
  }
  if (const std::string rest = (*output)->take_all(); !rest.empty()) calls.add_told(rest);

  auto final = read_tree(real.get(), ignored, numbering, trace.bytes);
  if (!final) return tl::unexpected(final.error());
  trace.final = std::move(*final);
  recording.written_outside.assign(calls.written_outside().begin(), calls.written_outside().end());
  recording.more_written_outside = calls.more_written_outside();
  recording.output_only_at_exit =
      !options.terminal && !calls.acknowledged_explicitly() && told_only_at_exit(trace);
  return recording;
}

}  // namespace

tl::expected<Recording, TraceError> record_with_ptrace(const RecordOptions& options) {
  // The kernel ties traced threads to the thread that traces them, and tells waitpid apart by it.
  tl::expected<Recording, TraceError> result;
  std::thread([&] {
    try {
      result = record(options);
    } catch (const std::exception& exception) {
      result = tl::unexpected(TraceError{std::string("recording: ") + exception.what()});
    }
  }).join();
  return result;
}

}  // namespace crashgate::faultinject
