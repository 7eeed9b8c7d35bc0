// The list of cost models, and how a spec becomes one.
#include "costmodel/cost_model.h"

#include <fmt/core.h>

#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "costmodel/cost_table.h"
#include "costmodel/host_kernel.h"
#include "costmodel/models.h"

namespace espalier::costmodel {

namespace {

/// Of what a CPU runs in a kernel's place.
class OnCores final : public CostModel {
 public:
  OnCores(std::unique_ptr<CostModel> model, const traces::HeadConfig& heads)
      : model_(std::move(model)), heads_(heads) {}
  std::string_view name() const override { return model_->name(); }
  Cost task(const TaskShape& shape, const KernelConfig& kernel) const override {
    return model_->task(shape, host_kernel(kernel, heads_));
  }
  Cost reduction(const ReductionShape& shape, const KernelConfig& kernel) const override {
    return model_->reduction(shape, host_kernel(kernel, heads_));
  }

 private:
  std::unique_ptr<CostModel> model_;
  traces::HeadConfig heads_;
};

}  // namespace

const std::vector<CostModelInfo>& cost_models() {
  static const std::vector<CostModelInfo> models = {
      {"unit", "1 a task, 1 a merge", "what leaving all balance to the hardware scheduler assumes", true},
      {"padding", "live pairs + 0.66 x pairs of unused rows + 0.33 x pairs of unused tokens; a merged row 0.1",
       "FastTree's cost, with the live work added", true},
      {"linear", "2 x query tile + KV tokens", "FlashInfer's persistent scheduler", true},
      {"wave", "KV tiles, rounded up",
       "FlashAttention's split rule: a wave lasts as many blocks as its longest CTA reads", true},
      {"payload", "64-token blocks + 5", "FlashMLA's tile scheduler", true},
      {"memory_profit", "KV tokens read + 2 a partial row written, 2 a partial row read back", "PAT's pack rule", true},
      {"roofline", "max(bytes / share of the achievable bandwidth, padded FLOPs / share of the engine's rate)",
       "Roofline (Williams et al. 2009)", false},
      {"table", "interpolated between profiled points, query rows x KV tokens",
       "CoDec's C_est; table:FILE is cost_table/1", false},
      {"analytic", "start + latency + max(bytes / share, tiles x cycles) + rows + results / port + end",
       "ours; the form CoDec's estimator takes", false},
  };
  return models;
}

const std::vector<std::string>& cost_model_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const CostModelInfo& info : cost_models()) list.emplace_back(info.name);
    return list;
  }();
  return names;
}

const CostModelInfo& cost_model_info(std::string_view spec) {
  const std::string_view name = spec.substr(0, spec.find(':'));
  for (const CostModelInfo& info : cost_models()) {
    if (info.name != name) continue;
    if (name.size() != spec.size() && name != "table") {
      throw core::usage_error(fmt::format("cost model {} takes no file, got '{}'", name, spec));
    }
    if (spec == "table:") throw core::usage_error("cost model table: expected table:FILE, got 'table:'");
    return info;
  }
  throw core::usage_error(core::unknown_name("cost model", name, cost_model_names()));
}

std::unique_ptr<CostModel> make_cost_model(std::string_view spec, const DeviceSpec& device,
                                           const traces::HeadConfig& heads) {
  const std::string_view name = cost_model_info(spec).name;
  if (name == "analytic" || name == "roofline") {
    const auto make = name == "analytic" ? make_analytic_model : make_roofline_model;
    if (!device.is_cpu()) return make(device, heads);
    return std::make_unique<OnCores>(make(device, host_heads(heads)), heads);
  }
  if (name == "table") {
    if (spec == name) throw core::usage_error("cost model table needs its file here: table:FILE");
    const std::string file(spec.substr(name.size() + 1));
    return make_table_model(read_cost_table(core::read_file(file), file), file, device, heads);
  }
  auto model = make_relative_model(name, device, heads);
  ESPALIER_CHECK(model != nullptr);
  return model;
}

}  // namespace espalier::costmodel
