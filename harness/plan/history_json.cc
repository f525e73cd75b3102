#include "harness/plan/history_json.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

namespace crashgate::harness {
namespace {

using nlohmann::json;

json to_json(const Event& event) {
  return {{"outcome", event.outcome},
          {"code", event.code},
          {"errno", event.errno_value},
          {"begin", event.begin},
          {"end", event.end},
          {"reading", event.reading},
          {"resembles", event.resembles},
          {"matches", event.matches},
          {"size", event.answer_size},
          {"listed", event.listed},
          {"exists", event.exists},
          {"well_formed", event.well_formed},
          {"text", event.text.data()}};
}

Event event_from_json(const json& from) {
  Event event{.outcome = from.at("outcome"),
              .code = from.at("code"),
              .errno_value = from.at("errno"),
              .begin = from.at("begin"),
              .end = from.at("end"),
              .reading = from.at("reading"),
              .resembles = from.at("resembles"),
              .matches = from.at("matches"),
              .answer_size = from.at("size"),
              .listed = from.at("listed"),
              .exists = from.at("exists"),
              .well_formed = from.at("well_formed")};
  const std::string text = from.at("text");
  std::memcpy(event.text.data(), text.data(), std::min(text.size(), event.text.size() - 1));
  return event;
}

}  // namespace

json to_json(const std::vector<ProcessHistory>& processes) {
  auto all = json::array();
  for (const auto& process : processes) {
    auto events = json::array();
    for (const auto& event : process.events) events.push_back(to_json(event));
    all.push_back({{"end", process.end_stamp}, {"events", events}});
  }
  return all;
}

std::vector<ProcessHistory> processes_from_json(const json& from) {
  std::vector<ProcessHistory> processes;
  for (const auto& one : from) {
    auto& process = processes.emplace_back();
    process.ran = true;
    process.end_stamp = one.at("end");
    for (const auto& event : one.at("events")) process.events.push_back(event_from_json(event));
  }
  return processes;
}

}  // namespace crashgate::harness
