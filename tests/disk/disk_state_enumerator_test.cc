// Crash states of small random block traces against the definition, applied word by word at every
// stamp. Each sector of a write is filled with one character, so that a disk is a short string.
#include "harness/disk/disk_state_enumerator.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace crashgate::harness {
namespace {

using faultinject::BlockRequest;
using faultinject::BlockRequestKind;
using faultinject::BlockTrace;

constexpr std::uint64_t kSector = 512;
constexpr std::uint64_t kSectorsOfBlock = 8;
constexpr std::uint64_t kDiskSectors = 56;
constexpr char kBefore = '.';  // what the disk held, whatever it was

/// A disk's content, a character a sector, and how much had been acknowledged.
using Seen = std::pair<std::string, std::size_t>;

struct SectorRange {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// models.md, "Pieces", in sectors.
std::vector<SectorRange> reference_pieces(const BlockRequest& request, const Basis& basis) {
  const std::uint64_t begin = request.offset / kSector;
  const std::uint64_t end = begin + request.length / kSector;
  const std::uint64_t first = begin / kSectorsOfBlock;
  const std::uint64_t blocks = (end - 1) / kSectorsOfBlock + 1 - first;
  std::vector<std::uint64_t> runs;  // how many blocks each
  const auto equal_runs = [&](std::uint64_t total, std::uint64_t count) {
    for (std::uint64_t run = 0; run < count; ++run)
      runs.push_back(total / count + (run < total % count ? 1 : 0));
  };
  if (blocks <= basis.blocks) {
    equal_runs(blocks, blocks);
  } else if (basis.blocks < 3) {
    equal_runs(blocks, basis.blocks);
  } else {
    runs.push_back(1);
    equal_runs(blocks - 2, basis.blocks - 2);
    runs.push_back(1);
  }
  std::vector<SectorRange> pieces;
  std::uint64_t block = first;
  for (const std::uint64_t run : runs) {
    const std::uint64_t from = std::max(begin, block * kSectorsOfBlock);
    const std::uint64_t to = std::min(end, (block + run) * kSectorsOfBlock);
    block += run;
    std::vector<std::uint64_t> edges = {from};
    const std::uint64_t boundaries = to - from - 1;
    if (run == 1 && request.kind == BlockRequestKind::kWrite) {
      if (boundaries <= basis.tears) {
        for (std::uint64_t edge = from + 1; edge < to; ++edge) edges.push_back(edge);
      } else {
        for (std::uint64_t tear = 0; tear < basis.tears; ++tear)
          edges.push_back(from + 1 + tear * boundaries / basis.tears);
      }
    }
    edges.push_back(to);
    for (std::size_t at = 0; at + 1 < edges.size(); ++at)
      pieces.push_back({edges[at], edges[at + 1]});
  }
  return pieces;
}

void apply(const BlockTrace& trace, std::size_t request, SectorRange range, std::string& disk) {
  const BlockRequest& made = trace.requests[request];
  for (std::uint64_t sector = range.begin; sector < range.end; ++sector) {
    disk[sector] = made.kind == BlockRequestKind::kWrite
                       ? trace.bytes[made.data + sector * kSector - made.offset]
                       : '\0';
  }
}

bool is_forced(const BlockTrace& trace, const BlockRequest& write, std::uint64_t first_stamp,
               std::uint64_t stamp) {
  if (write.end == 0) return false;
  if (write.end <= first_stamp) return true;
  return std::ranges::any_of(trace.requests, [&](const BlockRequest& flush) {
    return flush.kind == BlockRequestKind::kFlush && write.end < flush.begin && flush.end != 0 &&
           flush.end <= stamp;
  });
}

std::size_t acknowledged_at(const std::vector<std::uint64_t>& stamps, std::uint64_t stamp) {
  return static_cast<std::size_t>(
      std::ranges::count_if(stamps, [&](std::uint64_t at) { return at <= stamp; }));
}

std::set<Seen> reference_states(const BlockTrace& trace, std::uint64_t first_stamp,
                                const std::vector<std::uint64_t>& acknowledgements,
                                const Basis& basis) {
  struct Part {
    std::size_t request;
    SectorRange range;
    bool forced;
  };
  std::set<Seen> states;
  for (std::uint64_t stamp = first_stamp; stamp <= trace.last_stamp; ++stamp) {
    std::vector<Part> parts;
    std::size_t free = 0;
    for (std::size_t index = 0; index < trace.requests.size(); ++index) {
      const BlockRequest& request = trace.requests[index];
      if (request.kind == BlockRequestKind::kFlush || request.begin > stamp) continue;
      const bool forced = is_forced(trace, request, first_stamp, stamp);
      for (const SectorRange& range : reference_pieces(request, basis)) {
        parts.push_back({index, range, forced});
        free += forced ? 0 : 1;
      }
    }
    for (std::uint64_t subset = 0; subset < std::uint64_t{1} << free; ++subset) {
      std::string disk(kDiskSectors, kBefore);
      std::size_t bit = 0;
      for (const Part& part : parts) {
        if (part.forced || (subset >> bit++ & 1) != 0) apply(trace, part.request, part.range, disk);
      }
      states.insert({disk, acknowledged_at(acknowledgements, stamp)});
    }
  }
  return states;
}

/// What a state given by the enumerator holds, by its stamp and what is lost.
std::string content_of(const BlockTrace& trace, const std::vector<DiskPiece>& pieces,
                       const DiskState& state) {
  std::string disk(kDiskSectors, kBefore);
  for (std::uint32_t index = 0; index < pieces.size(); ++index) {
    const DiskPiece& piece = pieces[index];
    if (trace.requests[piece.request].begin > state.stamp ||
        std::ranges::count(state.lost, index) != 0) {
      continue;
    }
    const SectorRange range = {piece.offset / kSector, (piece.offset + piece.length) / kSector};
    apply(trace, piece.request, range, disk);
  }
  return disk;
}

struct Case {
  BlockTrace trace;
  std::uint64_t first_stamp = 0;
  std::vector<std::uint64_t> acknowledgements;
  Basis basis;
};

std::ostream& operator<<(std::ostream& out, const Case& shown) {
  for (const BlockRequest& request : shown.trace.requests) {
    constexpr const char* kNames[] = {"write", "flush", "discard", "zero-out"};
    out << kNames[static_cast<int>(request.kind)] << ' ' << request.offset / kSector << '+'
        << request.length / kSector << ' ';
    if (request.kind == BlockRequestKind::kWrite) {
      for (std::uint64_t at = 0; at < request.length; at += kSector)
        out << (shown.trace.bytes[request.data + at] == '\0'
                    ? '0'
                    : shown.trace.bytes[request.data + at]);
    }
    out << " [" << request.begin << ", " << request.end << "]\n";
  }
  out << "first stamp " << shown.first_stamp << ", last " << shown.trace.last_stamp
      << ", acknowledgements";
  for (const std::uint64_t stamp : shown.acknowledgements) out << ' ' << stamp;
  return out << ", blocks " << shown.basis.blocks << ", tears " << shown.basis.tears;
}

Case random_case() {
  constexpr std::size_t kMostPieces = 10;
  Case made;
  made.basis.blocks = *rc::gen::inRange<std::uint32_t>(1, 5);
  made.basis.tears = *rc::gen::inRange<std::uint32_t>(0, 3);
  BlockTrace& trace = made.trace;
  const auto count = *rc::gen::inRange<std::size_t>(0, 9);
  std::vector<std::size_t> open;
  std::size_t pieces = 0;
  while (trace.requests.size() < count || !open.empty()) {
    if (trace.requests.size() == count && *rc::gen::inRange(0, 4) == 0) break;  // never answered
    const bool answers =
        !open.empty() && (trace.requests.size() == count || *rc::gen::arbitrary<bool>());
    if (answers) {
      const auto which = *rc::gen::inRange<std::size_t>(0, open.size());
      trace.requests[open[which]].end = ++trace.last_stamp;
      open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
      continue;
    }
    BlockRequest request;
    request.kind = *rc::gen::weightedElement<BlockRequestKind>({{5, BlockRequestKind::kWrite},
                                                                {3, BlockRequestKind::kFlush},
                                                                {1, BlockRequestKind::kDiscard},
                                                                {1, BlockRequestKind::kZeroOut}});
    request.begin = ++trace.last_stamp;
    if (request.kind != BlockRequestKind::kFlush) {
      const bool is_long = *rc::gen::inRange(0, 4) == 0;
      const auto begin = *rc::gen::inRange<std::uint64_t>(0, kDiskSectors);
      const auto length = *rc::gen::inRange<std::uint64_t>(1, is_long ? kDiskSectors : 6);
      request.offset = begin * kSector;
      request.length = (std::min(begin + length, kDiskSectors) - begin) * kSector;
      pieces += reference_pieces(request, made.basis).size();
      if (pieces > kMostPieces) {
        pieces -= reference_pieces(request, made.basis).size();
        request.kind = BlockRequestKind::kFlush;
        request.offset = request.length = 0;
      }
    }
    if (request.kind == BlockRequestKind::kWrite) {
      request.data = trace.bytes.size();
      for (std::uint64_t at = 0; at < request.length; at += kSector)
        trace.bytes.append(kSector, *rc::gen::element('\0', 'a', 'b'));
    }
    open.push_back(trace.requests.size());
    trace.requests.push_back(request);
  }
  made.first_stamp = *rc::gen::inRange<std::uint64_t>(0, trace.last_stamp / 3 + 1);
  made.acknowledgements = *rc::gen::container<std::vector<std::uint64_t>>(
      rc::gen::inRange<std::uint64_t>(0, trace.last_stamp + 1));
  if (made.acknowledgements.size() > 3) made.acknowledgements.resize(3);
  std::ranges::sort(made.acknowledgements);
  return made;
}

/// As often again as RapidCheck thinks enough: a case takes no time.
void check(const std::function<void(const Case&)>& property) {
  for (int round = 0; round < 10 && !testing::Test::HasFailure(); ++round) {
    EXPECT_TRUE(rc::check([&] {
      const Case drawn = random_case();
      RC_LOG() << drawn << '\n';
      property(drawn);
    }));
  }
}

TEST(DiskStateEnumerator, GivesEachStateOfTheDefinitionOnce) {
  check([](const Case& drawn) {
    const std::set<Seen> expected =
        reference_states(drawn.trace, drawn.first_stamp, drawn.acknowledgements, drawn.basis);
    DiskStateEnumerator enumerator(drawn.trace, drawn.first_stamp, drawn.acknowledgements,
                                   {.basis = drawn.basis});
    std::set<Seen> given;
    while (const DiskState* state = enumerator.next()) {
      const std::string disk = content_of(drawn.trace, enumerator.pieces(), *state);
      RC_ASSERT(given.insert({disk, state->acknowledgement}).second);
      RC_ASSERT(expected.contains({disk, state->acknowledgement}));
      RC_ASSERT(state->stamp >= drawn.first_stamp);
      RC_ASSERT(state->stamp <= drawn.trace.last_stamp);
      RC_ASSERT(state->acknowledgement == acknowledged_at(drawn.acknowledgements, state->stamp));
      RC_ASSERT(std::ranges::is_sorted(state->lost));
      for (const std::uint32_t lost : state->lost) {
        const BlockRequest& request = drawn.trace.requests[enumerator.pieces()[lost].request];
        RC_ASSERT(request.begin <= state->stamp);
        RC_ASSERT(!is_forced(drawn.trace, request, drawn.first_stamp, state->stamp));
      }
    }
    RC_ASSERT(given == expected);
    RC_ASSERT(enumerator.exhaustive());
    RC_ASSERT(enumerator.states_given() == expected.size());
  });
}

TEST(DiskStateEnumerator, BuildsAGivenStateAgain) {
  check([](const Case& drawn) {
    DiskStateEnumerator enumerator(drawn.trace, drawn.first_stamp, drawn.acknowledgements,
                                   {.basis = drawn.basis});
    std::map<Seen, std::uint64_t> hashes;
    while (const DiskState* state = enumerator.next()) {
      const DiskState given = *state;
      const DiskState* again = enumerator.state_without(given.stamp, given.lost);
      RC_ASSERT(again != nullptr);
      RC_ASSERT(again->hash == given.hash);
      RC_ASSERT(again->stamp == given.stamp);
      RC_ASSERT(again->acknowledgement == given.acknowledgement);
      RC_ASSERT(again->lost == given.lost);
      hashes[{content_of(drawn.trace, enumerator.pieces(), given), 0}] = given.hash;
      // Less may be lost; what is certain may not.
      if (!given.lost.empty()) {
        std::vector<std::uint32_t> fewer = given.lost;
        fewer.erase(fewer.begin());
        const DiskState* more = enumerator.state_without(given.stamp, fewer);
        RC_ASSERT(more != nullptr);
        const auto known = hashes.find({content_of(drawn.trace, enumerator.pieces(), *more), 0});
        if (known != hashes.end()) RC_ASSERT(known->second == more->hash);
      }
      for (std::uint32_t piece = 0; piece < enumerator.pieces().size(); ++piece) {
        const BlockRequest& request = drawn.trace.requests[enumerator.pieces()[piece].request];
        const bool may_be_lost = request.begin <= given.stamp &&
                                 !is_forced(drawn.trace, request, drawn.first_stamp, given.stamp);
        RC_ASSERT((enumerator.state_without(given.stamp, {piece}) != nullptr) == may_be_lost);
      }
    }
  });
}

TEST(DiskStateEnumerator, ALimitIsKeptAndSaidToBeOne) {
  check([](const Case& drawn) {
    const auto count_with = [&](std::uint64_t limit) {
      DiskStateEnumerator enumerator(drawn.trace, drawn.first_stamp, drawn.acknowledgements,
                                     {.basis = drawn.basis, .state_limit = limit});
      std::uint64_t count = 0;
      while (enumerator.next() != nullptr) ++count;
      return std::pair(count, enumerator.exhaustive());
    };
    const std::uint64_t all = count_with(UINT64_MAX).first;
    const std::uint64_t limit = *rc::gen::inRange<std::uint64_t>(0, all + 2);
    RC_ASSERT(count_with(limit) == std::pair(std::min(all, limit), limit >= all));
  });
}

BlockTrace many_unflushed_writes(std::size_t count) {
  BlockTrace trace;
  for (std::size_t index = 0; index < count; ++index) {
    trace.requests.push_back({.kind = BlockRequestKind::kWrite,
                              .begin = 2 * index + 1,
                              .end = 2 * index + 2,
                              .offset = index * kSector,
                              .length = kSector,
                              .data = trace.bytes.size()});
    trace.bytes.append(kSector, 'x');
  }
  trace.last_stamp = 2 * count;
  return trace;
}

TEST(DiskStateEnumerator, SamplesWhatIsTooManyTheSameWayEachTime) {
  const BlockTrace trace = many_unflushed_writes(40);
  const auto first_hashes = [&](std::uint64_t seed) {
    DiskStateEnumerator enumerator(trace, 0, {}, {.seed = seed, .state_limit = 1000});
    std::vector<std::uint64_t> hashes;
    while (const DiskState* state = enumerator.next()) hashes.push_back(state->hash);
    EXPECT_FALSE(enumerator.exhaustive());
    return hashes;
  };
  const auto hashes = first_hashes(1);
  EXPECT_EQ(hashes.size(), 1000U);
  EXPECT_EQ(hashes, first_hashes(1));
  EXPECT_NE(hashes, first_hashes(2));
}

TEST(DiskStateEnumerator, GivesAllOfManyWhereNothingLimitsIt) {
  const BlockTrace trace = many_unflushed_writes(18);  // more than are few
  DiskStateEnumerator enumerator(trace, 0, {}, {});
  while (enumerator.next() != nullptr) continue;
  EXPECT_EQ(enumerator.states_given(), 1U << 18);
  EXPECT_TRUE(enumerator.exhaustive());
}

TEST(DiskStateEnumerator, BeginsWithTheLeastThenPrefixes) {
  const BlockTrace trace = many_unflushed_writes(3);
  DiskStateEnumerator enumerator(trace, 0, {}, {});
  std::vector<std::vector<std::uint32_t>> lost;
  std::vector<std::uint64_t> stamps;
  while (const DiskState* state = enumerator.next()) {
    lost.push_back(state->lost);
    stamps.push_back(state->stamp);
  }
  ASSERT_EQ(lost.size(), 8U);
  EXPECT_EQ(std::vector(stamps.begin(), stamps.begin() + 4),
            (std::vector<std::uint64_t>{0, 1, 3, 5}));
  EXPECT_EQ(lost[4], (std::vector<std::uint32_t>{0}));
  EXPECT_EQ(enumerator.crash_points(), 1U);
}

}  // namespace
}  // namespace crashgate::harness
