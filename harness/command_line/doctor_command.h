// `crashgate doctor`: what this machine can run, and what it lacks.
#pragma once

namespace crashgate::harness {

/// One line for each thing that crashgate asks of a machine: name, yes or no, what for, why not.
/// Tries each; leaves nothing behind. Gives the exit status: 0 whatever is missing, as long as the
/// store can be tested and programs can be recorded, else 3.
int doctor();

}  // namespace crashgate::harness
