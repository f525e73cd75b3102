// libfiu's control functions, interposed to know whether any failure point is enabled; and the
// question to libfiu.
//
// libfiu's remote control (fiu_rc_string, fiu_rc_fifo, hence fiu-run and fiu-ctrl) calls these
// functions through its procedure linkage table, so it reaches the ones here as well. A one-time
// point that has fired stays counted until it is disabled, and one enabled twice stays counted
// once: calls then stay on the slow path, nothing else.
#define FIU_ENABLE
#include <dlfcn.h>
#include <fiu-control.h>
#include <fiu.h>

#include <cerrno>

#include "faultinject/intercept.h"
#include "faultinject/transfer.h"

#define CRASHGATE_EXPORT extern "C" __attribute__((visibility("default")))

namespace crashgate::faultinject {
namespace {

template <typename Function>
Function* next_definition(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

/// Counts the point as enabled before it is, so that no call can miss it; takes that back where
/// enabling fails.
template <typename Function, typename... Arguments>
int enable(const char* symbol, Arguments... arguments) {
  auto next = next_definition<Function>(symbol);
  if (next == nullptr) return -1;
  shim_gate.fetch_add(kOneFailurePoint);
  int status = next(arguments...);
  if (status != 0) shim_gate.fetch_sub(kOneFailurePoint);
  return status;
}

}  // namespace

Decision ask_failure_points(const RowInfo& row, const Arguments& arguments) {
  int saved = errno;
  Decision decision;
  if (fiu_fail(row.failure_point) != 0) {
    auto info = reinterpret_cast<std::uintptr_t>(fiu_failinfo());
    int fallback = row.errnos.empty() ? EIO : row.errnos.front();
    decision = {Injected::kError, info != 0 ? info : static_cast<std::uintptr_t>(fallback)};
  } else if (row.reduce_point != nullptr && fiu_fail(row.reduce_point) != 0) {
    auto info = reinterpret_cast<std::uintptr_t>(fiu_failinfo());
    std::uint64_t total = transfer_size(row, arguments);
    if (total >= 2) decision = {Injected::kShort, info != 0 ? info : total / 2};
  }
  errno = saved;
  return decision;
}

}  // namespace crashgate::faultinject

using crashgate::faultinject::enable;

CRASHGATE_EXPORT int fiu_enable(const char* name, int failnum, void* failinfo, unsigned flags) {
  return enable<decltype(fiu_enable)>("fiu_enable", name, failnum, failinfo, flags);
}

CRASHGATE_EXPORT int fiu_enable_random(const char* name, int failnum, void* failinfo,
                                       unsigned flags, float probability) {
  return enable<decltype(fiu_enable_random)>("fiu_enable_random", name, failnum, failinfo, flags,
                                             probability);
}

CRASHGATE_EXPORT int fiu_enable_external(const char* name, int failnum, void* failinfo,
                                         unsigned flags, external_cb_t* callback) {
  return enable<decltype(fiu_enable_external)>("fiu_enable_external", name, failnum, failinfo,
                                               flags, callback);
}

CRASHGATE_EXPORT int fiu_enable_stack(const char* name, int failnum, void* failinfo, unsigned flags,
                                      void* function, int position) {
  return enable<decltype(fiu_enable_stack)>("fiu_enable_stack", name, failnum, failinfo, flags,
                                            function, position);
}

CRASHGATE_EXPORT int fiu_enable_stack_by_name(const char* name, int failnum, void* failinfo,
                                              unsigned flags, const char* function, int position) {
  return enable<decltype(fiu_enable_stack_by_name)>("fiu_enable_stack_by_name", name, failnum,
                                                    failinfo, flags, function, position);
}

CRASHGATE_EXPORT int fiu_disable(const char* name) {
  using namespace crashgate::faultinject;
  auto next = next_definition<decltype(fiu_disable)>("fiu_disable");
  if (next == nullptr) return -1;
  int status = next(name);
  if (status == 0) shim_gate.fetch_sub(kOneFailurePoint);
  return status;
}
