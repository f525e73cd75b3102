#include "harness/check/disk_case.h"

#include <sys/stat.h>

#include <cerrno>
#include <fstream>
#include <iterator>

#include "harness/crash_state/materializer.h"
#include "harness/disk/recovered_disk.h"
#include "harness/report/case_directory.h"

namespace crashgate::harness {
namespace {

Result<void> write_text(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (!file) return tl::unexpected(error_from_errno(errno, "write", path));
  return {};
}

// The recovered tree, with owners, attributes and links as they are.
Result<void> copy_recovered(const std::string& from, const std::string& to) {
  const auto tree = read_recovered_tree(from);
  if (!tree) return tl::unexpected(tree.error());
  if (::mkdir(to.c_str(), 0700) != 0) return tl::unexpected(error_from_errno(errno, "mkdir", to));
  auto materializer = Materializer::create(to);
  if (!materializer) return tl::unexpected(materializer.error());
  return materializer->make(tree_of(tree->bytes, tree->snapshot));
}

}  // namespace

std::string disk_image_path(const std::string& case_path) {
  return case_path + "/disk.img";
}

Result<std::string> save_disk_case(
    const std::string& directory, const DiskCase& saved,
    const std::function<Result<void>(const DiskStateVisitor&)>& show) {
  const nlohmann::json content{{"id", saved.id},
                               {"kind", to_string(saved.kind)},
                               {"message", saved.message},
                               {"seed", saved.seed},
                               {"subject", saved.subject},
                               {"disk",
                                {{"file_system", saved.choice.file_system->name},
                                 {"make_options", saved.choice.make_options},
                                 {"mount_options", saved.choice.mount_options},
                                 {"check", saved.check_file_system},
                                 {"cause", saved.cause},
                                 {"disturbances", saved.disturbances}}}};
  return save_case_directory(
      directory, saved.id, content, [&](const std::string& path) -> Result<void> {
        if (auto written = write_text(path + "/stdout", saved.told); !written) return written;
        return show(
            {.crashed = [&](const DiskImage& image) { return image.save(disk_image_path(path)); },
             .recovered =
                 [&](const std::string& found) { return copy_recovered(found, path + "/tree"); }});
      });
}

Result<DiskCase> load_disk_case(const std::string& path) {
  const auto loaded = load_case_directory(path);
  if (!loaded) return tl::unexpected(loaded.error());
  try {
    const auto& json = loaded->content;
    const auto& disk = json.at("disk");
    const auto kind = find_finding_kind(json.at("kind").get<std::string>());
    if (!kind) return bad_case("unknown kind of finding", loaded->file_path);
    const std::string name = disk.at("file_system");
    DiskCase saved;
    saved.id = json.at("id");
    saved.kind = *kind;
    saved.message = json.at("message");
    saved.cause = disk.at("cause");
    saved.seed = json.at("seed");
    saved.check_file_system = disk.at("check");
    saved.disturbances = disk.at("disturbances").get<std::vector<std::string>>();
    saved.subject = json.at("subject");
    saved.choice.file_system = find_file_system(name);
    saved.choice.make_options = disk.at("make_options").get<std::vector<std::string>>();
    saved.choice.mount_options = disk.at("mount_options");
    if (saved.choice.file_system == nullptr)
      return bad_case("unknown file system " + name, loaded->file_path);
    std::ifstream told(loaded->path + "/stdout", std::ios::binary);
    if (!told) return bad_case("the case has no file of what was told", loaded->path + "/stdout");
    saved.told.assign(std::istreambuf_iterator<char>(told), {});
    return saved;
  } catch (const std::exception& exception) {
    return bad_case(std::string("not a saved disk: ") + exception.what(), loaded->file_path);
  }
}

bool is_disk_case(const std::string& path) {
  const auto loaded = load_case_directory(path);
  return loaded && loaded->content.contains("disk");
}

}  // namespace crashgate::harness
