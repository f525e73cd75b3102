// A crash state of a disk that was saved as an image: judged again, as it is.
#pragma once

#include <string>

#include "harness/disk/disk_exploration.h"
#include "harness/disk/disk_image.h"
#include "store/error.h"

namespace crashgate::harness {

/// Mounts the image (which changes: give a copy) with its work directory at `directory`, and judges
/// as an exploration does. For a job process in a mount namespace of its own.
Result<Judgement> judge_saved_disk(const DiskImage& image, const FileSystemChoice& choice,
                                   const std::string& directory, bool check_file_system,
                                   const DirectoryJudge& judge, std::size_t acknowledgement_end);

}  // namespace crashgate::harness
