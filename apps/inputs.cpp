#include "apps/inputs.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "traces/families.h"
#include "traces/import.h"
#include "traces/suites.h"

namespace espalier::apps {
namespace {

/// "dir/rag_sorted_c64.jsonl.gz" → "rag_sorted_c64"
std::string source_name(const std::string& path) {
  if (path == "-") return "stdin";
  const std::string name = std::filesystem::path(path).filename().string();
  return name.substr(0, name.find('.', 1));
}

std::int64_t snapshot_of(const traces::PrefixForest& forest, std::int64_t fallback) {
  const auto hash = forest.name.rfind('#');
  if (hash == std::string::npos) return fallback;
  return core::parse_integer(std::string_view(forest.name).substr(hash + 1)).value_or(fallback);
}

/// `name`, or "name (2)", … when an earlier item of the command line took it: reports must not mix the two.
template <class Taken>
std::string unique_name(const std::string& name, const Taken& taken) {
  std::string unique = name;
  for (int n = 2; taken(unique); ++n) unique = fmt::format("{} ({})", name, n);
  return unique;
}

void append(std::vector<Input>& inputs, const std::string& name, std::vector<traces::PrefixForest> forests) {
  const std::string source = unique_name(name, [&](const std::string& candidate) {
    return std::any_of(inputs.begin(), inputs.end(), [&](const Input& i) { return i.source == candidate; });
  });
  std::int64_t index = 0;
  for (traces::PrefixForest& forest : forests) {
    const std::int64_t snapshot = snapshot_of(forest, index++);
    inputs.push_back({source, snapshot, std::move(forest)});
  }
}

/// An engine's own pages stay where they are: of another size they would be made up, and what shares them too.
void apply_page_size(Input& input, std::int32_t page_size) {
  const traces::PageTable& own = input.forest.pages;
  if (traces::is_paged(own) && own.page_size != page_size) {
    throw core::usage_error(fmt::format("--page-size {}: {} comes with pages of {}, leave --page-size away", page_size,
                                        input.source, core::counted(own.page_size, "token")));
  }
  if (own.page_ids.empty()) input.forest = traces::floor_to_pages(input.forest, page_size);
}

}  // namespace

traces::ReplayOptions replay_options(const InputOptions& options) {
  traces::ReplayOptions replay = options.replay;
  replay.seed = options.seed;
  if (options.order == "prefix") {
    replay.order = traces::Order::prefix;
  } else if (options.order != "arrival") {
    throw core::usage_error(core::unknown_name("order", options.order, {"arrival", "prefix"}));
  }
  if (options.routing == "cache-aware") {
    replay.routing = traces::Routing::cache_aware;
  } else if (options.routing != "random") {
    throw core::usage_error(core::unknown_name("routing", options.routing, {"random", "cache-aware"}));
  }
  return replay;
}

std::vector<Input> load_inputs(const InputOptions& options) {
  const std::int32_t page_size = options.page_size.value_or(1);
  if (page_size < 1 || page_size > traces::kMaxPageSize) {
    throw core::usage_error(
        fmt::format("--page-size: expected 1 to {} tokens, got {}", traces::kMaxPageSize, page_size));
  }
  std::vector<Input> inputs;
  for (const std::string& path : options.forests) {
    append(inputs, source_name(path), traces::read_forests(core::read_file(path), path, options.snapshot));
  }
  for (const std::string& path : options.traces) {
    const traces::Trace trace = traces::read_mooncake(core::read_file(path), path);
    const traces::ReplayOptions replay = replay_options(options);
    auto forests = traces::replay(trace, replay);
    append(inputs, fmt::format("{} {} x{}", source_name(path), options.order, replay.running), std::move(forests));
  }
  for (const std::string& path : options.block_tables) {
    append(inputs, source_name(path), {traces::read_block_table(core::read_file(path), path)});
  }
  for (const std::string& tree : options.trees) append(inputs, tree, {traces::parse_tree(tree)});
  for (const std::string& spec : options.families) append(inputs, spec, {traces::generate_family(spec, options.seed)});
  for (const std::string& suite : options.suites) {
    for (traces::PrefixForest& forest : traces::make_suite(suite)) {
      const std::string name = forest.name;
      append(inputs, name, {std::move(forest)});
    }
  }
  if (inputs.empty()) {
    throw core::usage_error("no input: give --forest, --trace, --tree, --family, --suite or --block-table");
  }
  for (Input& input : inputs) {
    if (input.forest.request_count() == 0) {
      throw core::bad_input(fmt::format("{} snapshot {}", input.source, input.snapshot), "at least one request",
                            "none");
    }
    if (options.page_size) apply_page_size(input, *options.page_size);
  }
  return inputs;
}

const Input& only_input(const std::vector<Input>& inputs, const InputOptions& options, std::string_view taker) {
  if (inputs.size() == 1) return inputs.front();
  const std::size_t named = options.forests.size() + options.trees.size() + options.families.size() +
                            options.suites.size() + options.block_tables.size() + options.traces.size();
  const std::string how = named > 1                  ? "name one input"
                          : !options.forests.empty() ? "pick one with --snapshot"
                          : !options.traces.empty()  ? "take one with --samples 1"
                                                     : fmt::format("pick one, as in --suite {}", inputs.front().source);
  throw core::usage_error(fmt::format("{} takes one forest, got {}: {}", taker, inputs.size(), how));
}

HeadChoice choose_heads(const HeadOptions& options) {
  HeadChoice choice;
  std::string text = options.heads;
  if (!options.model.empty()) {
    const traces::Model& model = traces::model_of(options.model);
    choice.model = model.name;
    choice.layers = model.layers;
    if (text.empty()) text = model.heads;
  }
  if (text.empty()) text = "32/8/128";
  choice.heads = traces::parse_heads(text);
  if (!options.dtype.empty()) {
    const auto dtype = traces::dtype_of(options.dtype);
    if (!dtype || *dtype == traces::Dtype::fp32) {
      throw core::usage_error(core::unknown_name("dtype", options.dtype, {"bf16", "fp16", "fp8_e4m3"}));
    }
    choice.heads.kv_dtype = *dtype;
    if (*dtype != traces::Dtype::fp8_e4m3) choice.heads.q_dtype = *dtype;
  }
  traces::check_heads(choice.heads, "--heads");
  choice.text = traces::heads_text(choice.heads);
  return choice;
}

std::vector<std::string> split_specs(std::string_view text) {
  std::vector<std::string> specs;
  for (std::string& part : core::split(text, ',')) {
    const bool continues = part.find('=') != std::string::npos && part.find(':') == std::string::npos;
    if (continues && !specs.empty()) {
      specs.back() += "," + part;
    } else {
      specs.push_back(std::move(part));
    }
  }
  return specs;
}

std::vector<costmodel::DeviceSpec> choose_devices(const std::vector<std::string>& specs) {
  std::vector<costmodel::DeviceSpec> devices;
  for (const std::string& list : specs) {
    for (const std::string& spec : split_specs(list)) {
      costmodel::DeviceSpec device = costmodel::find_device(spec);
      const auto same = [&](const costmodel::DeviceSpec& d) {
        return d.name == device.name && costmodel::device_hash(d) == costmodel::device_hash(device);
      };
      if (std::any_of(devices.begin(), devices.end(), same)) continue;
      device.name = unique_name(device.name, [&](const std::string& candidate) {
        return std::any_of(devices.begin(), devices.end(),
                           [&](const costmodel::DeviceSpec& d) { return d.name == candidate; });
      });
      devices.push_back(std::move(device));
    }
  }
  if (devices.empty()) devices.push_back(costmodel::find_device("h100-sxm"));
  return devices;
}

std::vector<scheduler::StrategyChoice> choose_strategies(std::string_view specs) {
  std::vector<scheduler::StrategyChoice> choices, named;
  const auto add = [](std::vector<scheduler::StrategyChoice>& to, const scheduler::StrategyChoice& choice) {
    const bool again = std::any_of(to.begin(), to.end(), [&](const scheduler::StrategyChoice& c) {
      return c.strategy == choice.strategy && c.options == choice.options;
    });
    if (!again) to.push_back(choice);
    return !again;
  };
  for (const std::string& spec : split_specs(specs)) {
    if (spec == "all") {
      for (const scheduler::Strategy* s : scheduler::strategies()) {
        add(choices, scheduler::parse_strategy(s->info().name));
      }
      continue;
    }
    const scheduler::StrategyChoice choice = scheduler::parse_strategy(spec);
    if (!add(named, choice)) throw core::usage_error(fmt::format("--strategy: {} is named twice", spec));
    add(choices, choice);  // a name that "all" brought already says where it stands
  }
  return choices;
}

scheduler::KernelSet choose_kernels(std::string_view name) {
  if (name == "ours") return scheduler::KernelSet::ours;
  if (name == "published") return scheduler::KernelSet::published;
  throw core::usage_error(core::unknown_name("kernel set", name, {"ours", "published"}));
}

}  // namespace espalier::apps
