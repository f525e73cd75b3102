// Removal of what dead writers left.
#pragma once

#include "store/error.h"
#include "store/local_file_store.h"

namespace crashgate {

/// Removes every regular file in the temporaries' directory that no writer has locked. Goes on
/// after an error, and then reports the first one.
Result<Recovery> remove_abandoned(int temporaries);

}  // namespace crashgate
