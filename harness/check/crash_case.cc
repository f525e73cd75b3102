#include "harness/check/crash_case.h"

#include <sys/stat.h>

#include <cerrno>
#include <fstream>

#include "harness/crash_state/materializer.h"
#include "harness/report/case_directory.h"

namespace crashgate::harness {
namespace {

Result<void> write_text(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return tl::unexpected(error_from_errno(errno, "write", path));
  return {};
}

// The files of a case beside case.json.
Result<void> fill(const CrashCase& saved, const std::string& path) {
  if (auto written = faultinject::write_trace(saved.trace, path + "/trace"); !written)
    return tl::unexpected(Error{ErrorCode::kIo, 0, written.error().message, path});
  CrashStateEnumerator states(saved.trace, *find_model(saved.rejection.model),
                              {.basis = saved.basis});
  const auto* state = rebuild(saved, states);
  if (state == nullptr) return {};      // a judge with models of its own; the trace says it all
  const auto& subject = saved.subject;  // a recovery's trace does not know what the workload told
  const auto told = subject.contains("told")
                        ? subject.at("told").get<std::string>()
                        : acknowledgements(saved.trace).substr(0, state->acknowledgement_end);
  if (auto written = write_text(path + "/stdout", told); !written) return written;
  if (!saved.rejection.judgement.output.empty()) {
    if (auto written = write_text(path + "/output", saved.rejection.judgement.output); !written)
      return written;
  }
  const auto tree = path + "/tree";
  if (::mkdir(tree.c_str(), 0700) != 0)
    return tl::unexpected(error_from_errno(errno, "mkdir", tree));
  auto materializer = Materializer::create(tree);
  if (!materializer) return tl::unexpected(materializer.error());
  return materializer->make(*state->tree);
}

}  // namespace

Result<std::string> save_crash_case(const std::string& directory, const CrashCase& saved) {
  const auto& rejection = saved.rejection;
  const nlohmann::json content{{"id", saved.id},
                               {"kind", to_string(saved.kind)},
                               {"message", saved.message},
                               {"seed", saved.seed},
                               {"subject", saved.subject},
                               {"crash",
                                {{"model", rejection.model},
                                 {"crash_point", rejection.crash_point},
                                 {"lost", rejection.lost},
                                 {"cause", rejection.judgement.cause},
                                 {"blocks", saved.basis.blocks},
                                 {"tears", saved.basis.tears}}}};
  return save_case_directory(directory, saved.id, content,
                             [&](const std::string& path) { return fill(saved, path); });
}

Result<CrashCase> load_crash_case(const std::string& path) {
  auto loaded = load_case_directory(path);
  if (!loaded) return tl::unexpected(loaded.error());
  try {
    const auto& json = loaded->content;
    const auto& crash = json.at("crash");
    const auto kind = find_finding_kind(json.at("kind").get<std::string>());
    if (!kind) return bad_case("unknown kind of finding", loaded->file_path);
    CrashCase saved{.id = json.at("id"),
                    .kind = *kind,
                    .message = json.at("message"),
                    .seed = json.at("seed"),
                    .basis = {crash.at("blocks"), crash.at("tears")},
                    .subject = json.at("subject")};
    saved.rejection.model = crash.at("model");
    saved.rejection.crash_point = crash.at("crash_point");
    saved.rejection.lost = crash.at("lost").get<std::vector<std::uint32_t>>();
    saved.rejection.judgement = {false, *kind, saved.message, crash.at("cause"), ""};
    if (find_model(saved.rejection.model) == nullptr)
      return bad_case("unknown model " + saved.rejection.model, loaded->file_path);
    auto trace = faultinject::read_trace(loaded->path + "/trace");
    if (!trace) return bad_case(trace.error().message, "");  // which names the file
    saved.trace = std::move(*trace);
    return saved;
  } catch (const std::exception& exception) {
    return bad_case(std::string("not a saved crash state: ") + exception.what(), loaded->file_path);
  }
}

bool is_crash_case(const std::string& path) {
  const auto loaded = load_case_directory(path);
  return loaded && loaded->content.contains("crash");
}

const CrashState* rebuild(const CrashCase& saved, CrashStateEnumerator& states) {
  return states.state_without(saved.rejection.crash_point, saved.rejection.lost);
}

}  // namespace crashgate::harness
