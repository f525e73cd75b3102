// Turns the log of a recording into a trace: inodes become FileIds, calls that concern files
// outside the tree are left out.
#pragma once

#include <set>
#include <string>
#include <tl/expected.hpp>

#include "faultinject/file_numbering.h"
#include "faultinject/recording_log.h"
#include "faultinject/trace.h"
#include "faultinject/tree_snapshot.h"

namespace crashgate::faultinject {

/// What is known before the first call: the trace's initial tree (with directory and bytes), and
/// the numbers of its files.
struct RecordingStart {
  Trace trace;
  std::string real_directory;  // without symlinks
  FileNumbering numbering;
};

/// Reads the tree as it is now. bad_input: there is no such directory.
tl::expected<RecordingStart, TraceError> start_trace(const std::string& directory,
                                                     const IgnoredPaths& ignored);

/// Regular files outside the tree that were opened for writing: some dozens, and whether there were
/// more.
struct WrittenOutside {
  std::set<std::string> paths;
  bool more = false;
};

struct ReadRecording {
  Trace trace;
  WrittenOutside outside;
};

/// The trace with its events, the final tree as it is now, and blind spots: what the log or the
/// final tree show that no record explains. No process may be recording any more.
tl::expected<ReadRecording, TraceError> read_recording(const RecordingLog& log,
                                                       RecordingStart start,
                                                       const IgnoredPaths& ignored);

}  // namespace crashgate::faultinject
