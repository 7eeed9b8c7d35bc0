// espalier trace gen|import|info: make, convert and describe forests.

#include <fmt/core.h>

#include "apps/commands.h"
#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "traces/import.h"
#include "traces/statistics.h"

namespace espalier::apps {
namespace {

void print_info(const Input& input, const HeadChoice& heads, const std::vector<costmodel::DeviceSpec>& devices,
                const InputOptions& options) {
  // load_inputs() floored the forest already; the token-exact figures need the forest as it came.
  const std::int32_t page_size = options.page_size.value_or(1);
  const traces::ForestStatistics s = traces::describe(input.forest, heads.heads, page_size);
  fmt::print("{} snapshot {}\n", input.source, input.snapshot);
  fmt::print("  requests        {}\n", s.requests);
  fmt::print("  nodes           {} ({}, deepest level {})\n", s.nodes, core::counted(s.roots, "root"), s.deepest_level);
  fmt::print("  context         mean {:.0f}, longest {} tokens\n", s.mean_context, s.longest_context);
  fmt::print("  unique tokens   {} ({} logical)\n", s.unique_tokens, s.logical_tokens);
  fmt::print("  dedupe          {:.3f} token-exact", s.dedupe);
  if (page_size > 1) fmt::print(", {:.3f} at page {}", s.dedupe_at_page, page_size);
  fmt::print(", {:.3f} if only roots were shared\n", s.one_level_dedupe);
  fmt::print("  read by         nodes   unique tokens   share of logical\n");
  for (const traces::SharingBin& bin : s.sharing) {
    const std::string range = bin.low == bin.high ? std::to_string(bin.low) : fmt::format("{}-{}", bin.low, bin.high);
    fmt::print("  {:>12}  {:>7}  {:>14}   {:>5.1f} %\n", range, bin.nodes, bin.unique_tokens,
               100.0 * static_cast<double>(bin.logical_tokens) / static_cast<double>(s.logical_tokens));
  }
  fmt::print("  KV              {} a layer at {}", core::bytes_text(s.kv_bytes_per_layer), heads.text);
  const std::int32_t layers = heads.layers > 0 ? heads.layers : 1;
  if (heads.layers > 0) {
    fmt::print(", {} over {} layers of {}", core::bytes_text(s.kv_bytes_per_layer * layers), layers, heads.model);
  }
  fmt::print("\n");
  for (const costmodel::DeviceSpec& device : devices) {
    const double share = static_cast<double>(s.kv_bytes_per_layer) * layers / static_cast<double>(device.hbm_bytes());
    fmt::print("  {:<15} {} ({:.0f} % of {:.0f} GiB{})\n", device.name, share <= 1.0 ? "fits" : "does not fit",
               share * 100.0, device.hbm_gib,
               heads.layers > 0 ? ", weights not counted" : ", one layer; give --model for all");
  }
}

}  // namespace

int run_trace_write(const TraceCommand& command) {
  const std::vector<Input> inputs = load_inputs(command.inputs);
  const traces::PrefixForest& forest = only_input(inputs, command.inputs, "a file of this format").forest;
  if (command.format == "forest") {
    core::write_file(command.output, traces::write_forest(forest));
  } else if (command.format == "block-table") {
    core::write_file(command.output, traces::write_block_table(forest));
  } else {
    throw core::usage_error(core::unknown_name("format", command.format, {"forest", "block-table"}));
  }
  return 0;
}

int run_trace_info(const TraceCommand& command) {
  InputOptions exact = command.inputs;
  exact.page_size.reset();  // describe() floors for itself and prints both
  const std::vector<Input> inputs = load_inputs(exact);
  const HeadChoice heads = choose_heads(command.heads);
  const auto devices = choose_devices(command.devices);
  for (const Input& input : inputs) print_info(input, heads, devices, command.inputs);
  return 0;
}

}  // namespace espalier::apps
