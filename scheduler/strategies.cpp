// The table of strategies, and what happens around a build: options, heads, memory.
#include <fmt/core.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "scheduler/multicast.h"
#include "scheduler/strategy.h"

namespace espalier::scheduler {

const Strategy& flash_decoding_strategy();
const Strategy& fa3_static_strategy();
const Strategy& fa3_dynamic_strategy();
const Strategy& flashinfer_decode_strategy();
const Strategy& flashinfer_prefill_strategy();
const Strategy& flashinfer_persistent_strategy();
const Strategy& sglang_triton_strategy();
const Strategy& lean_strategy();
const Strategy& flashmla_strategy();
const Strategy& vllm_cascade_strategy();
const Strategy& cascade_strategy();
const Strategy& bifurcated_strategy();
const Strategy& deft_flatten_strategy();
const Strategy& codec_strategy();
const Strategy& deft_node_strategy();
const Strategy& deft_node_chunk_strategy();
const Strategy& fasttree_strategy();
const Strategy& relay_strategy();
const Strategy& pat_strategy();
const Strategy& hydragen_strategy();
const Strategy& chunk_attention_strategy();
const Strategy& codec_release_strategy();
const Strategy& espalier_strategy();

const std::vector<const Strategy*>& strategies() {
  static const std::vector<const Strategy*> table = {
      &flash_decoding_strategy(),
      &fa3_static_strategy(),
      &fa3_dynamic_strategy(),
      &flashinfer_decode_strategy(),
      &flashinfer_prefill_strategy(),
      &flashinfer_persistent_strategy(),
      &sglang_triton_strategy(),
      &lean_strategy(),
      &flashmla_strategy(),
      &vllm_cascade_strategy(),
      &cascade_strategy(),
      &bifurcated_strategy(),
      &deft_flatten_strategy(),
      &codec_strategy(),
      &deft_node_strategy(),
      &deft_node_chunk_strategy(),
      &fasttree_strategy(),
      &relay_strategy(),
      &pat_strategy(),
      &hydragen_strategy(),
      &chunk_attention_strategy(),
      &codec_release_strategy(),
      &espalier_strategy(),
  };
  return table;
}

std::string_view refusal_name(RefusalClass refusal) {
  switch (refusal) {
    case RefusalClass::structure:
      return "structure";
    case RefusalClass::heads:
      return "heads";
    case RefusalClass::kernel:
      return "kernel";
    case RefusalClass::size:
      return "size";
  }
  return "unknown";
}

const Strategy& find_strategy(std::string_view name) {
  std::vector<std::string> names;
  for (const Strategy* strategy : strategies()) {
    if (strategy->info().name == name) return *strategy;
    names.emplace_back(strategy->info().name);
  }
  throw core::usage_error(core::unknown_name("strategy", name, names));
}

namespace {

constexpr StrategyOption kCluster = {"cluster", 1, 1, 16, "CTAs that may load KV together, in launches without queues"};

StrategyOption find_option(const StrategyInfo& info, std::string_view name) {
  std::vector<std::string> names;
  for (const StrategyOption& option : all_options(info)) {
    if (option.name == name) return option;
    names.emplace_back(option.name);
  }
  throw core::usage_error(core::unknown_name(fmt::format("option of strategy {}", info.name), name, names));
}

/// Options are whole numbers; a value outside the range or with a fraction is an error.
void check_value(const StrategyInfo& info, const StrategyOption& option, double value) {
  if (value >= option.low && value <= option.high && value == static_cast<double>(static_cast<std::int64_t>(value))) {
    return;
  }
  throw core::usage_error(fmt::format("strategy {}: option {}: expected a whole number from {} to {}, got {}",
                                      info.name, option.name, option.low, option.high, value));
}

/// Bytes of the pages all nodes touch (a page that two nodes share counts twice). In double: absurd forests must not
/// overflow before they are refused.
double kv_bytes(const PlanRequest& request) {
  const traces::PageTable& table = request.forest.pages;
  double pages = 0;
  for (const NodeId n : core::ids<NodeId>(request.forest.node_count())) {
    pages += static_cast<double>(traces::last_page(table, n, request.forest.tokens[n]) - table.first_page[n] + 1);
  }
  return pages * table.page_size * static_cast<double>(request.heads.kv_bytes_per_token());
}

/// Passes every question on and counts the answers that were extrapolated: one plan's share of a model that many plans
/// ask.
class CountedModel final : public costmodel::CostModel {
 public:
  explicit CountedModel(std::shared_ptr<const costmodel::CostModel> model) : model_(std::move(model)) {}
  std::string_view name() const override { return model_->name(); }
  costmodel::Cost task(const costmodel::TaskShape& shape, const costmodel::KernelConfig& kernel) const override {
    return counted(model_->task(shape, kernel));
  }
  costmodel::Cost reduction(const costmodel::ReductionShape& shape,
                            const costmodel::KernelConfig& kernel) const override {
    return counted(model_->reduction(shape, kernel));
  }
  std::int64_t extrapolated() const { return extrapolated_; }

 private:
  costmodel::Cost counted(costmodel::Cost cost) const {
    if (cost.extrapolated) extrapolated_.fetch_add(1, std::memory_order_relaxed);
    return cost;
  }
  std::shared_ptr<const costmodel::CostModel> model_;
  mutable std::atomic<std::int64_t> extrapolated_ = 0;
};

/// Wraps the request's model, made from its spec where it is missing.
std::shared_ptr<const CountedModel> count_model(PlanRequest& request, const StrategyInfo& info) {
  if (request.cost_model.empty()) request.cost_model = info.own_cost_model;
  if (!request.model) request.model = costmodel::make_cost_model(request.cost_model, request.device, request.heads);
  auto counted = std::make_shared<const CountedModel>(std::move(request.model));
  request.model = counted;
  return counted;
}

std::string gib(double bytes) { return fmt::format("{:.1f} GiB", bytes / (1024.0 * 1024.0 * 1024.0)); }

}  // namespace

std::vector<StrategyOption> all_options(const StrategyInfo& info) {
  std::vector<StrategyOption> options = info.options;
  options.push_back(kCluster);
  return options;
}

StrategyChoice parse_strategy(std::string_view spec) {
  const std::size_t colon = spec.find(':');
  StrategyChoice choice{&find_strategy(spec.substr(0, colon)), {}};
  const StrategyInfo& info = choice.strategy->info();
  for (const StrategyOption& option : all_options(info)) choice.options.emplace(option.name, option.fallback);
  if (colon == std::string_view::npos) return choice;
  std::set<std::string_view> given;
  for (const std::string& setting : core::split(spec.substr(colon + 1), ',')) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos) {
      throw core::usage_error(fmt::format("strategy {}: expected option=value, got '{}'", info.name, setting));
    }
    const StrategyOption option = find_option(info, std::string_view(setting).substr(0, equals));
    const std::optional<double> value = core::parse_number(std::string_view(setting).substr(equals + 1));
    if (!value) {
      throw core::usage_error(fmt::format("strategy {}: option {}: expected a number, got '{}'", info.name, option.name,
                                          setting.substr(equals + 1)));
    }
    check_value(info, option, *value);
    if (!given.insert(option.name).second) {
      throw core::usage_error(fmt::format("strategy {}: option {} is given twice", info.name, option.name));
    }
    choice.options.insert_or_assign(std::string(option.name), *value);
  }
  return choice;
}

PlanResult make_plan(const StrategyChoice& choice, PlanRequest request) {
  ESPALIER_CHECK(choice.strategy != nullptr);
  const StrategyInfo& info = choice.strategy->info();
  request.options.clear();
  for (const StrategyOption& option : info.options) request.options.emplace(option.name, option.fallback);
  std::int32_t cluster = 1;
  for (const auto& [name, value] : choice.options) {
    check_value(info, find_option(info, name), value);
    if (name == kCluster.name) {
      cluster = static_cast<std::int32_t>(value);
    } else {
      request.options.insert_or_assign(name, value);
    }
  }
  traces::check_heads(request.heads, "heads");

  const auto memory = static_cast<double>(request.device.hbm_bytes());
  const double kv = kv_bytes(request);
  if (kv > memory) {
    return Refusal{RefusalClass::size, fmt::format("the KV cache of one layer takes {}, {} has {}", gib(kv),
                                                   request.device.name, gib(memory))};
  }
  const bool by_model =
      info.uses_cost_model && !(request.cost_model.empty() && !request.model && info.own_cost_model.empty());
  const std::shared_ptr<const CountedModel> model = by_model ? count_model(request, info) : nullptr;
  PlanResult result = choice.strategy->build(request);
  if (Plan* plan = std::get_if<Plan>(&result)) {
    if (model && model->extrapolated() > 0) {
      plan->provenance.why.push_back(
          fmt::format("{} of the estimates of cost model {} lie outside what it was profiled on and are "
                      "extrapolated",
                      model->extrapolated(), request.cost_model));
      seal(*plan);
    }
    if (cluster > 1) form_clusters(*plan, cluster);
    const auto workspace = static_cast<double>(plan->workspace_bytes);
    if (kv + workspace > memory) {
      return Refusal{RefusalClass::size, fmt::format("a workspace of {} beside {} of KV exceeds the {} of {}",
                                                     gib(workspace), gib(kv), gib(memory), request.device.name)};
    }
  }
  return result;
}

}  // namespace espalier::scheduler
