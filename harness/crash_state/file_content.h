// The content of one regular file on disk, against the pieces that a tree says it has.
#pragma once

#include "harness/crash_state/directory_tree.h"

namespace crashgate::harness {

/// Whether both have the same bytes and holes in the same places. Pieces at one address are equal;
/// others are compared.
bool same_content(const TreeFile& one, const TreeFile& other);

/// Turns the file at `fd` (open for writing) from the content of `before` into that of `after`,
/// writing only where they differ. 0, or the errno of the call that failed.
int write_difference(int fd, const TreeFile& before, const TreeFile& after);

/// Whether the file at `fd` (open for reading) has the bytes of `file`. False too where it cannot
/// be read.
bool holds_content(int fd, const TreeFile& file);

}  // namespace crashgate::harness
