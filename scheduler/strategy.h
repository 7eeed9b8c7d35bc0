// A strategy turns (forest, heads, device) into a plan, or refuses with a class and a sentence.
//
// Adding one: a .cpp in scheduler/strategies/ that opens with its source and what is faithful or deviates, and one line
// in the table of scheduler/strategies.cpp. Deterministic for a seed; never emits an invalid plan.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "costmodel/cost_model.h"
#include "costmodel/device_spec.h"
#include "scheduler/plan.h"

namespace espalier::scheduler {

enum class KernelSet : std::uint8_t {
  ours,       ///< plans alone are compared: everyone uses our kernels and launches
  published,  ///< methods as shipped: the kernels each was published with
};

struct PlanRequest {
  const traces::PrefixForest& forest;
  const traces::HeadConfig& heads;
  const costmodel::DeviceSpec& device;
  KernelSet kernels = KernelSet::ours;
  std::string cost_model =
      {};  ///< for strategies that consume one: a spec as make_cost_model() takes it; empty: the strategy's own
  std::map<std::string, double, std::less<>> options =
      {};  ///< the strategy's own; checked against StrategyInfo::options before build()
  std::uint64_t seed = 1;
  /// The model of that spec, made for this device and these heads. make_plan() makes it where it is missing and a
  /// strategy consumes one, and sees to it that extrapolated estimates are told in the plan's `why`.
  std::shared_ptr<const costmodel::CostModel> model = nullptr;
  std::vector<std::string> only_kernels = {};  ///< names of the kernels of ours it may use; empty: all
  bool explain =
      true;  ///< false: the strategy may leave Provenance::why empty, as a server that plans at every step wants it
};

enum class RefusalClass : std::uint8_t {
  structure,  ///< the forest isn't of the kind the method serves
  heads,      ///< head configuration unsupported
  kernel,     ///< no kernel of the set fits the device
  size,       ///< plan would be beyond the method's or our limits
};
std::string_view refusal_name(RefusalClass refusal);

struct Refusal {
  RefusalClass refusal;
  std::string sentence;
};

struct StrategyOption {
  std::string_view name;
  double fallback, low, high;
  std::string_view meaning;
};

struct StrategyInfo {
  std::string_view name;
  std::string_view summary;  ///< one line
  std::string_view source;   ///< paper or code it follows
  std::string_view needs;    ///< what it can't do without, or can't do
  bool uses_cost_model = false;
  std::vector<StrategyOption> options;
  std::string_view own_cost_model =
      "analytic";  ///< what it plans by unless told otherwise, if it consumes one; empty: by none
};

using PlanResult = std::variant<Plan, Refusal>;

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual const StrategyInfo& info() const = 0;
  /// The forest may be of any shape, including empty (then the plan is empty). Options are complete and in range.
  /// So is `request.model` of strategies that consume one.
  virtual PlanResult build(const PlanRequest& request) const = 0;
};

/// Every strategy, in the order tables list them.
const std::vector<const Strategy*>& strategies();
/// Throws Error (usage), nearest name suggested.
const Strategy& find_strategy(std::string_view name);
/// The strategy's own options, then what every strategy takes:
/// `cluster`, the CTAs of a cluster in launches without queues (scheduler/multicast.h).
std::vector<StrategyOption> all_options(const StrategyInfo& info);
/// "name" or "name:option=value,option=value": the strategy and its complete options. Throws Error (usage).
struct StrategyChoice {
  const Strategy* strategy;
  std::map<std::string, double, std::less<>> options;
};
StrategyChoice parse_strategy(std::string_view spec);
/// Fills missing options from the defaults, checks heads, makes the cost model, builds.
PlanResult make_plan(const StrategyChoice& choice, PlanRequest request);

/// Task limit of a plan; beyond it strategies refuse with class `size`.
inline constexpr std::int64_t kMaxTasks = 4'000'000;

}  // namespace espalier::scheduler
