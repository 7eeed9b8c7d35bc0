// What to work on: the inputs, heads, devices and strategies that a command line names. The same everywhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/device_spec.h"
#include "scheduler/strategy.h"
#include "traces/head_config.h"
#include "traces/prefix_forest.h"
#include "traces/replay.h"

namespace espalier::apps {

struct InputOptions {
  std::vector<std::string> forests, trees, families, suites, block_tables, traces;
  std::optional<std::int64_t> snapshot;
  std::string order = "arrival";
  std::string routing = "random";
  traces::ReplayOptions replay;
  std::optional<std::int32_t> page_size;  ///< not given: pages as they come, of one token where none do
  std::uint64_t seed = 1;
};

/// A forest and where it came from. Inputs of one source (the snapshots of a file) share `source`.
struct Input {
  std::string source;  ///< file name without folder and extension, tree notation, family, item of a suite, …
  std::int64_t snapshot = 0;
  traces::PrefixForest forest;
};

/// Reads and generates all inputs, in the order of the option kinds; page size applied. Throws Error (usage) when none
/// is named or one comes with pages of another size, Error (bad input) for a forest without requests.
std::vector<Input> load_inputs(const InputOptions& options);

/// The only one. Throws Error (usage) where there are several: how to name one of them, and that `taker` takes no more.
const Input& only_input(const std::vector<Input>& inputs, const InputOptions& options, std::string_view taker);

/// How traces are replayed. Throws Error (usage) for unknown names.
traces::ReplayOptions replay_options(const InputOptions& options);

struct HeadOptions {
  std::string heads;  ///< "32/8/128"; empty: the model's, or 32/8/128
  std::string model;  ///< "llama3-8b"
  std::string dtype;  ///< "bf16", "fp16", "fp8_e4m3" (KV)
};

struct HeadChoice {
  traces::HeadConfig heads;
  std::string text;         ///< as reports print it
  std::string model;        ///< empty without --model
  std::int32_t layers = 0;  ///< 0 without --model
};
HeadChoice choose_heads(const HeadOptions& options);

/// "a,b:x=1,y=2,c" → "a", "b:x=1,y=2", "c": a part with '=' and no ':' continues the option list before it.
std::vector<std::string> split_specs(std::string_view text);

std::vector<costmodel::DeviceSpec> choose_devices(const std::vector<std::string>& specs);
std::vector<scheduler::StrategyChoice> choose_strategies(std::string_view specs);  ///< "all" or a list, none twice
scheduler::KernelSet choose_kernels(std::string_view name);

}  // namespace espalier::apps
