// Payloads tell who wrote them, also when they come back damaged.
#include "harness/plan/payload.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <set>

namespace crashgate::harness {

void PrintTo(Reading reading, std::ostream* out) {
  *out << to_string(reading);
}

namespace {

const std::string kKey = "k";

std::vector<std::uint64_t> sizes() {
  std::vector<std::uint64_t> all;
  for (std::uint64_t size = 0; size <= 3 * kCellSize + 1; ++size) all.push_back(size);
  for (const std::uint64_t size : {511, 512, 513, 4095, 4096, 4097, 65536}) {
    all.push_back(size);
  }
  return all;
}

std::string bytes_of(const Payload& payload) {
  return make_payload(payload.writer, payload.sequence, payload.size);
}

Identified identify_whole(const std::string& bytes, const std::vector<Payload>& payloads) {
  return identify(bytes, kKey, 0, UINT64_MAX, payloads);
}

TEST(Payload, IsAsLongAsAsked) {
  for (const auto size : sizes()) EXPECT_EQ(make_payload(1, 2, size).size(), size);
}

TEST(Payload, IsWholeInEverySize) {
  for (const auto size : sizes()) {
    const std::vector<Payload> payloads{{0, 1, size + 1, kKey}, {1, 2, size, kKey}};
    const auto identified = identify_whole(make_payload(1, 2, size), payloads);
    EXPECT_EQ(identified.reading, Reading::kWhole) << size;
    EXPECT_EQ(identified.matches, 0b10U) << size;
    EXPECT_EQ(identified.resembles, -1) << size;
  }
}

TEST(Payload, OfOneByteIsItsWritersOwn) {
  std::set<std::string> seen;
  for (std::uint16_t writer = 0; writer < 8; ++writer) {
    for (std::uint16_t sequence = 1; sequence <= 8; ++sequence) {
      EXPECT_TRUE(seen.insert(make_payload(writer, sequence, 1)).second);
    }
  }
}

TEST(Payload, OfNoByteIsWholeForAllThatWriteNone) {
  const std::vector<Payload> payloads{
      {0, 1, 0, kKey}, {1, 1, 5, kKey}, {2, 1, 0, kKey}, {3, 1, 0, "other"}};
  EXPECT_EQ(identify_whole("", payloads).reading, Reading::kWhole);
  EXPECT_EQ(identify_whole("", payloads).matches, 0b101U);
}

TEST(Payload, CutAnywhereIsCutShort) {
  for (const auto size : sizes()) {
    const std::vector<Payload> payloads{{1, 2, size, kKey}};
    const auto whole = make_payload(1, 2, size);
    for (std::uint64_t cut = 0; cut < size; cut += cut < 100 ? 1 : 97) {
      const auto identified = identify_whole(whole.substr(0, cut), payloads);
      EXPECT_EQ(identified.reading, cut == 0 ? Reading::kEmpty : Reading::kCut)
          << size << " " << cut;
      EXPECT_EQ(identified.matches, 0U);
      if (cut != 0) {
        EXPECT_EQ(identified.resembles, 0) << size << " " << cut;
      }
    }
  }
}

TEST(Payload, ZeroedIsZeros) {
  for (const auto size : sizes()) {
    if (size == 0) continue;
    const std::vector<Payload> payloads{{1, 2, size, kKey}};
    const auto identified = identify_whole(std::string(size, '\0'), payloads);
    EXPECT_EQ(identified.reading, Reading::kZeros) << size;
    EXPECT_EQ(identified.resembles, -1);
  }
}

TEST(Payload, WithAZeroedPartResemblesWhatIsLeft) {
  const std::vector<Payload> payloads{{0, 1, 10, "other"}, {1, 2, 4096, kKey}};
  const auto whole = make_payload(1, 2, 4096);
  for (const std::size_t hole : {0, 16, 512, 2048, 4080}) {
    auto bytes = whole;
    bytes.replace(hole, 16, 16, '\0');
    const auto identified = identify_whole(bytes, payloads);
    EXPECT_EQ(identified.reading, Reading::kCut) << hole;
    EXPECT_EQ(identified.resembles, 1) << hole;
  }
}

TEST(Payload, MadeOfTwoIsMixed) {
  const std::vector<Payload> payloads{{0, 1, 100, kKey}, {1, 1, 100, kKey}, {2, 1, 64, kKey}};
  const auto first = make_payload(0, 1, 100);
  const auto second = make_payload(1, 1, 100);
  for (std::size_t cut = kCellSize; cut <= 100 - 2 * kCellSize; ++cut) {
    const auto identified = identify_whole(first.substr(0, cut) + second.substr(cut), payloads);
    EXPECT_EQ(identified.reading, Reading::kMixed) << cut;
    EXPECT_EQ(identified.resembles, 0) << cut;
  }
  const auto shorter_over_longer = make_payload(2, 1, 64) + first.substr(64);
  EXPECT_EQ(identify_whole(shorter_over_longer, payloads).reading, Reading::kMixed);
  // The same writer, another of its payloads.
  const std::vector<Payload> own{{0, 1, 100, kKey}, {0, 2, 100, kKey}};
  EXPECT_EQ(identify_whole(
                make_payload(0, 1, 100).substr(0, 32) + make_payload(0, 2, 100).substr(32), own)
                .reading,
            Reading::kMixed);
}

TEST(Payload, LongerThanWrittenIsNotWhole) {
  const std::vector<Payload> payloads{{0, 1, 32, kKey}};
  const auto whole = make_payload(0, 1, 32);
  EXPECT_EQ(identify_whole(whole + std::string(1, '\0'), payloads).reading, Reading::kCut);
  EXPECT_EQ(identify_whole(whole + whole, payloads).reading, Reading::kCut);
}

TEST(Payload, OfAnotherKeyIsSaidToBe) {
  for (const auto size : sizes()) {
    if (size == 0) continue;
    const std::vector<Payload> payloads{{0, 1, size + 1, kKey}, {1, 1, size, "other"}};
    const auto identified = identify_whole(make_payload(1, 1, size), payloads);
    EXPECT_EQ(identified.reading, Reading::kOtherKey) << size;
    EXPECT_EQ(identified.matches, 0U) << size;
  }
}

TEST(Payload, ThatNobodyWroteIsForeign) {
  const std::vector<Payload> payloads{{0, 1, 100, kKey}, {1, 1, 5, kKey}};
  for (const std::string bytes : {"x", "hello", "forty bytes that are no cell of any payload"}) {
    const auto identified = identify_whole(bytes, payloads);
    EXPECT_EQ(identified.reading, Reading::kForeign) << bytes;
    EXPECT_EQ(identified.resembles, -1) << bytes;
  }
}

TEST(Payload, OneFlippedBitIsNoticed) {
  for (const std::uint64_t size : {1, 15, 16, 17, 100}) {
    const std::vector<Payload> payloads{{0, 1, size, kKey}};
    const auto whole = make_payload(0, 1, size);
    for (std::size_t bit = 0; bit < 8 * size; ++bit) {
      auto bytes = whole;
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
      EXPECT_EQ(identify_whole(bytes, payloads).matches, 0U) << size << " " << bit;
    }
  }
}

TEST(Payload, EverySliceIsWhole) {
  for (const std::uint64_t size : {0, 1, 15, 16, 17, 40}) {
    const std::vector<Payload> payloads{{1, 2, size, kKey}};
    const auto whole = make_payload(1, 2, size);
    for (std::uint64_t offset = 0; offset <= size; ++offset) {
      for (const std::uint64_t length : {0UL, 1UL, 15UL, 16UL, 17UL, 100UL, UINT64_MAX - offset}) {
        const auto identified =
            identify(whole.substr(offset, length), kKey, offset, length, payloads);
        EXPECT_EQ(identified.reading, Reading::kWhole) << size << " " << offset << " " << length;
      }
    }
  }
}

TEST(Payload, ASliceCutShortIsCutShort) {
  const std::vector<Payload> payloads{{1, 2, 100, kKey}};
  const auto whole = make_payload(1, 2, 100);
  for (std::uint64_t offset = 0; offset < 100; ++offset) {
    for (std::uint64_t length = 2; offset + length <= 100; ++length) {
      for (std::uint64_t cut = 1; cut < length; ++cut) {
        const auto bytes = whole.substr(offset, cut);
        if (std::ranges::count(bytes, '\0') == std::ssize(bytes)) continue;  // said to be zeros
        const auto identified = identify(bytes, kKey, offset, length, payloads);
        ASSERT_EQ(identified.reading, Reading::kCut) << offset << " " << length << " " << cut;
        ASSERT_EQ(identified.resembles, 0) << offset << " " << length << " " << cut;
      }
    }
  }
}

TEST(Payload, ASliceFromElsewhereIsNotWhole) {
  const std::vector<Payload> payloads{{1, 2, 100, kKey}};
  const auto whole = make_payload(1, 2, 100);
  EXPECT_NE(identify(whole.substr(16, 32), kKey, 32, 32, payloads).reading, Reading::kWhole);
  EXPECT_NE(identify(whole.substr(17, 32), kKey, 16, 32, payloads).reading, Reading::kWhole);
}

TEST(Payload, BeyondTheEndOfAShorterOneDoesNotMatchIt) {
  const std::vector<Payload> payloads{{1, 2, 10, kKey}, {2, 1, 20, kKey}};
  const auto identified = identify("", kKey, 20, 5, payloads);
  EXPECT_EQ(identified.reading, Reading::kWhole);
  EXPECT_EQ(identified.matches, 0b10U);
}

TEST(Payload, CellsAreFoundInFiles) {
  EXPECT_FALSE(contains_cell(""));
  EXPECT_FALSE(contains_cell(std::string(4096, '\0')));
  EXPECT_FALSE(contains_cell("forty bytes that are no cell of any payload"));
  EXPECT_FALSE(contains_cell(make_payload(0, 1, 15)));
  EXPECT_TRUE(contains_cell(make_payload(0, 1, 16)));
  EXPECT_TRUE(contains_cell(std::string(32, '\0') + make_payload(0, 1, 100).substr(32)));
}

TEST(Payload, ListsThoseOfSetupWorkersAndSurvivors) {
  Plan plan;
  plan.setup = {{.kind = OperationKind::kPut, .key = "a", .size = 7}};
  plan.workers = {{{.kind = OperationKind::kGet, .key = "a"},
                   {.kind = OperationKind::kPutIfAbsent, .key = "b", .size = 8}},
                  {{.kind = OperationKind::kPut, .key = "a", .size = 9}}};
  const std::vector<Operation> survivor{{.kind = OperationKind::kRecover},
                                        {.kind = OperationKind::kPut, .key = "b", .size = 5}};
  const auto payloads = payloads_of(plan, survivor, 2);
  ASSERT_EQ(payloads.size(), 5U);
  const auto is = [](const Payload& one, std::uint16_t writer, std::uint16_t sequence,
                     std::uint64_t size, const std::string& key) {
    return one.writer == writer && one.sequence == sequence && one.size == size && one.key == key;
  };
  EXPECT_TRUE(is(payloads[0], kSetupWriter, 1, 7, "a"));
  EXPECT_TRUE(is(payloads[1], 0, 2, 8, "b"));
  EXPECT_TRUE(is(payloads[2], 1, 1, 9, "a"));
  EXPECT_TRUE(is(payloads[3], 2, 2, 5, "b"));
  EXPECT_TRUE(is(payloads[4], 3, 2, 5, "b"));
}

// Parts of payloads put together at random: whole exactly where the bytes are a payload's.
TEST(Payload, IsWholeExactlyWhereItIsOnesOwn) {
  EXPECT_TRUE(rc::check("splices of payloads", [] {
    std::vector<Payload> payloads;
    const auto count = *rc::gen::inRange<std::uint16_t>(1, 6);
    for (std::uint16_t i = 0; i < count; ++i) {
      const auto size = *rc::gen::inRange<std::uint64_t>(0, 70);
      payloads.push_back({i, static_cast<std::uint16_t>(i + 1), size,
                          *rc::gen::element(kKey, kKey, std::string("other"))});
    }
    const auto offset = *rc::gen::inRange<std::uint64_t>(0, 40);
    const auto length = *rc::gen::element<std::uint64_t>(0, 1, 16, 33, 200);
    const auto first = bytes_of(payloads[*rc::gen::inRange<std::size_t>(0, count)]);
    const auto second = bytes_of(payloads[*rc::gen::inRange<std::size_t>(0, count)]);
    const auto seam = *rc::gen::inRange<std::size_t>(0, 70);
    std::string bytes = first.substr(0, seam);
    if (second.size() > bytes.size()) bytes += second.substr(bytes.size());
    bytes = bytes.size() > offset ? bytes.substr(offset, length) : "";

    std::uint64_t expected = 0;
    for (std::size_t i = 0; i < payloads.size(); ++i) {
      if (payloads[i].key != kKey || payloads[i].size < offset) continue;
      if (bytes_of(payloads[i]).substr(offset, length) == bytes) expected |= std::uint64_t{1} << i;
    }
    const auto identified = identify(bytes, kKey, offset, length, payloads);
    RC_ASSERT(identified.matches == expected);
    RC_ASSERT((identified.reading == Reading::kWhole) == (expected != 0));
  }));
}

}  // namespace
}  // namespace crashgate::harness
