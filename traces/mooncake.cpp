// Reader of Mooncake request traces. Unknown keys are let through: publishers add fields of their own.
#include <fmt/core.h>

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "core/json.h"
#include "core/units.h"
#include "traces/replay.h"

namespace espalier::traces {
namespace {

/// Longest prompt or output we take for real; keeps every sum of a trace far below 2^63.
constexpr std::int64_t kMaxRequestTokens = std::int64_t{1} << 30;

TraceRequest read_request(const core::JsonView& root, std::int64_t block_tokens) {
  TraceRequest request;
  request.timestamp_ms = root.at("timestamp").number(0.0, 1e15);
  request.input_tokens = root.at("input_length").integer(1, kMaxRequestTokens);
  request.output_tokens = root.at("output_length").integer(0, kMaxRequestTokens);
  const core::JsonView blocks = root.at("hash_ids");
  request.blocks = blocks.integers(0);
  const std::int64_t needed = core::ceil_div(request.input_tokens, block_tokens);
  if (static_cast<std::int64_t>(request.blocks.size()) != needed) {
    throw core::bad_input(blocks.where(),
                          fmt::format("{} blocks of {} for {} tokens", needed, block_tokens, request.input_tokens),
                          std::to_string(request.blocks.size()));
  }
  return request;
}

/// Ids name whole prefixes, so that each has one parent.
void check_parents(const TraceRequest& request, const core::JsonView& root,
                   std::unordered_map<std::int64_t, std::int64_t>& parent_of) {
  std::int64_t above = -1;
  for (std::size_t i = 0; i < request.blocks.size(); ++i) {
    const auto [known, fresh] = parent_of.emplace(request.blocks[i], above);
    if (!fresh && known->second != above) {
      const auto name = [](std::int64_t id) { return id < 0 ? std::string("the start") : fmt::format("block {}", id); };
      throw core::bad_input(
          fmt::format("{}[{}]", root.at("hash_ids").where(), i),
          fmt::format("block {} after {}, as before (ids name whole prefixes)", request.blocks[i], name(known->second)),
          fmt::format("it after {}", name(above)));
    }
    above = request.blocks[i];
  }
}

}  // namespace

Trace read_mooncake(std::string_view text, const std::string& file) {
  Trace trace;
  const std::string base = file.substr(file.find_last_of('/') + 1);
  trace.name = base.substr(0, base.find(".json"));
  const auto lines = core::json_lines(text);
  if (lines.empty()) throw core::bad_input(file, "a trace with one request a line", "an empty file");
  std::unordered_map<std::int64_t, std::int64_t> parent_of;
  trace.requests.reserve(lines.size());
  for (const core::JsonLine& line : lines) {
    const auto document = core::JsonDocument::parse(line.text, file, line.number);
    trace.requests.push_back(read_request(document.root(), trace.block_tokens));
    check_parents(trace.requests.back(), document.root(), parent_of);
  }
  std::stable_sort(trace.requests.begin(), trace.requests.end(),
                   [](const TraceRequest& a, const TraceRequest& b) { return a.timestamp_ms < b.timestamp_ms; });
  return trace;
}

}  // namespace espalier::traces
