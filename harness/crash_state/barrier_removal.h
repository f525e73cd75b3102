// A trace with one barrier taken away: whether anybody would notice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "faultinject/trace.h"

namespace crashgate::harness {

/// A barrier of subjects[subject], taken away.
struct BarrierTest {
  std::size_t subject = 0;
  std::size_t event = 0;
  bool noticed = false;
  bool exhaustive = true;
  std::uint64_t states_added = 0;  // 0: the barrier is redundant
};

/// Events that are barriers and succeeded: fsync and its family, and writes with O_SYNC or O_DSYNC.
std::vector<std::size_t> barriers_of(const faultinject::Trace& trace);

/// A barrier as if it had never been called: it changes nothing and forces nothing.
faultinject::TraceEvent without_barrier(faultinject::TraceEvent event);

/// Adds what one job saw of a barrier to what the others saw.
void add_barrier_test(std::vector<BarrierTest>& all, const BarrierTest& test);

/// Between processes.
nlohmann::json to_json(const BarrierTest& test);
BarrierTest barrier_test_from_json(const nlohmann::json& json);

}  // namespace crashgate::harness
