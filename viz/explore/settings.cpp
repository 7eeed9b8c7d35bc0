#include "viz/explore/settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/error.h"
#include "core/text.h"
#include "traces/families.h"
#include "viz/explore/batch.h"

namespace espalier::viz {
namespace {

constexpr std::size_t kMostUndone = 200;
constexpr std::int32_t kMostDecoded = 4096, kMostSteps = 1 << 30, kMostRunning = 1 << 20;

const traces::Family& family_of(const std::string& name) {
  std::vector<std::string> names;
  for (const traces::Family& family : traces::families()) {
    if (family.name == name) return family;
    names.emplace_back(family.name);
  }
  throw core::usage_error(core::unknown_name("family", name, names));
}

template <class Option>
const Option& option_of(const std::vector<Option>& options, std::string_view name) {
  const auto at = std::find_if(options.begin(), options.end(), [&](const Option& o) { return o.name == name; });
  if (at != options.end()) return *at;
  std::vector<std::string> names;
  for (const Option& option : options) names.emplace_back(option.name);
  throw core::usage_error(core::unknown_name("option", name, names));
}

std::string listed(const Numbers& numbers) {
  std::vector<std::string> parts;
  for (const auto& [name, value] : numbers) parts.push_back(fmt::format("{}={}", name, value));
  return core::join(parts, ",");
}

/// Only what differs from the default is kept, so that equal settings are equal values.
void set_number(Numbers& numbers, const std::string& name, double value, double fallback) {
  numbers.erase(name);
  if (value != fallback) numbers[name] = value;
}

void set_field(Side& side, const std::string& name, double value, const Given& given) {
  Side plain = side;
  plain.device_fields.clear();
  const costmodel::DeviceSpec device = device_of(plain, given);
  const costmodel::DeviceField& field = option_of(costmodel::device_fields(), name);
  value = std::clamp(field.whole ? std::round(value) : value, field.low, field.high);
  set_number(side.device_fields, name, value, device.*field.member);
}

void choose_model(Settings& settings, const std::string& name) {
  const traces::HeadConfig before = settings.heads;
  settings.heads = traces::parse_heads(traces::model_of(name).heads);
  settings.heads.q_dtype = before.q_dtype;
  settings.heads.kv_dtype = before.kv_dtype;
  settings.model = name;
}

void set_heads(Settings& settings, const Change& change) {
  traces::HeadConfig heads = settings.heads;
  const auto whole = static_cast<std::int32_t>(std::clamp(change.value, 1.0, 512.0));
  if (change.knob == Knob::kv_dtype) {
    const auto dtype = traces::dtype_of(change.name);
    if (!dtype) throw core::usage_error(core::unknown_name("dtype", change.name, {"bf16", "fp16", "fp8_e4m3"}));
    heads.kv_dtype = *dtype;
    if (*dtype != traces::Dtype::fp8_e4m3) heads.q_dtype = *dtype;
  } else if (change.knob == Knob::q_heads) {
    heads.q_heads = std::max(heads.kv_heads, whole / heads.kv_heads * heads.kv_heads);
  } else {
    heads.kv_heads = whole;
    heads.q_heads = std::max(1, heads.q_heads / whole) * whole;
  }
  if (heads.q_heads != settings.heads.q_heads || heads.kv_heads != settings.heads.kv_heads) settings.model.clear();
  settings.heads = heads;
}

void edit(Side& side, const Change& change) {
  for (int k = 0; k < kEditKinds; ++k) {
    const auto kind = static_cast<EditKind>(k);
    if (edit_name(kind) == change.name && change.value >= 0) {
      return side.edits.push_back({kind, static_cast<std::int32_t>(change.value), change.copy, change.queue});
    }
  }
  throw core::usage_error(fmt::format("unknown edit '{}'", change.name));
}

void apply_to_side(Side& side, const Change& change, const Given& given) {
  if (change.knob != Knob::edit) side.edits.clear();
  switch (change.knob) {
    case Knob::strategy:
      side.strategy = scheduler::find_strategy(change.name).info().name;
      side.options.clear();
      if (!scheduler::find_strategy(side.strategy).info().uses_cost_model) side.cost_model.clear();
      break;
    case Knob::option: {
      const std::vector<scheduler::StrategyOption> options =
          scheduler::all_options(scheduler::find_strategy(side.strategy).info());
      const scheduler::StrategyOption& option = option_of(options, change.name);
      set_number(side.options, change.name, std::clamp(change.value, option.low, option.high), option.fallback);
      break;
    }
    case Knob::cost_model:
      if (!change.name.empty()) (void)costmodel::cost_model_info(change.name);
      side.cost_model = change.name;
      break;
    case Knob::device: {
      Side other = side;
      other.device = change.name;
      other.device_fields.clear();
      (void)device_of(other, given);
      side = other;
      break;
    }
    case Knob::device_field:
      set_field(side, change.name, change.value, given);
      break;
    case Knob::device_reset:
      side.device_fields.clear();
      break;
    case Knob::query_tile:
      side.query_tile = static_cast<std::int32_t>(std::clamp(change.value, 0.0, 1024.0));
      break;
    case Knob::kernels:
      side.kernels = change.value > 0 ? scheduler::KernelSet::published : scheduler::KernelSet::ours;
      break;
    case Knob::edit:
      edit(side, change);
      break;
    default:
      break;
  }
}

/// Whether a change asks for other plans on both sides.
bool is_shared(Knob knob) { return knob <= Knob::kv_dtype; }

/// Whether a given plan stays: another device times it, edits change it.
bool keeps_plan(Knob knob) {
  return knob == Knob::device || knob == Knob::device_field || knob == Knob::device_reset || knob == Knob::edit ||
         knob == Knob::edit_reset;
}

}  // namespace

std::string_view side_name(SideId side) { return side == SideId::a ? "A" : "B"; }

Settings bundled_settings() {
  Settings settings;
  settings.family = "few_shot";
  settings.family_options = {{"blocks", 6}, {"questions", 10}, {"root", 2000}};
  settings.model = "llama3-8b";
  settings.heads = traces::parse_heads(traces::model_of(settings.model).heads);
  return settings;
}

void apply(Settings& settings, const Change& change, const Given& given) {
  if (is_shared(change.knob)) {
    settings.a.edits.clear();
    settings.b.edits.clear();
  }
  switch (change.knob) {
    case Knob::family:
      settings.family = change.name.empty() ? std::string() : std::string(family_of(change.name).name);
      settings.family_options.clear();
      settings.decode_step = std::min(settings.decode_step,
                                      most_of(settings, Knob::decode_step, given));  // a trace may have had more steps
      settings.given_plan = false;
      break;
    case Knob::family_option: {
      const traces::FamilyOption& option = option_of(family_of(settings.family).options, change.name);
      const double value = option.kind == traces::OptionKind::whole ? std::round(change.value) : change.value;
      set_number(settings.family_options, change.name, std::clamp(value, option.low, option.high), option.fallback);
      break;
    }
    case Knob::seed:
      settings.seed = static_cast<std::uint64_t>(std::max(0.0, change.value));
      break;
    case Knob::snapshot:
    case Knob::running:
    case Knob::decode_step: {
      std::int32_t& number = change.knob == Knob::snapshot  ? settings.snapshot
                             : change.knob == Knob::running ? settings.running
                                                            : settings.decode_step;
      number = static_cast<std::int32_t>(
          std::clamp(change.value, 0.0, static_cast<double>(most_of(settings, change.knob, given))));
      settings.given_plan = false;
      break;
    }
    case Knob::model:
      choose_model(settings, change.name), settings.given_plan = false;
      break;
    case Knob::q_heads:
    case Knob::kv_heads:
    case Knob::kv_dtype:
      set_heads(settings, change), settings.given_plan = false;
      break;
    case Knob::compare:
      settings.compare = change.value > 0;
      break;
    case Knob::swap:
      std::swap(settings.a, settings.b), settings.given_plan = false;
      break;
    default:
      apply_to_side(settings.side(change.side), change, given);
      if (change.side == SideId::a && !keeps_plan(change.knob)) settings.given_plan = false;
      if (change.side == SideId::b) settings.measured = false;
  }
}

std::int32_t most_of(const Settings& settings, Knob knob, const Given& given) {
  if (knob == Knob::snapshot) return std::max(0, static_cast<std::int32_t>(given.forests.size()) - 1);
  if (knob == Knob::running) return kMostRunning;
  return replays_trace(settings, given) ? kMostSteps : kMostDecoded;
}

bool same_inputs(const Given& a, const Given& b) {
  return a.forests == b.forests && a.trace == b.trace && a.plan == b.plan && a.measurement == b.measurement;
}

bool shows_measurement(const Settings& settings, const Given& given) {
  return settings.measured && settings.given_plan && given.plan != nullptr && given.measurement != nullptr;
}

costmodel::DeviceSpec device_of(const Side& side, const Given& given) {
  const auto at =
      std::find_if(given.devices.begin(), given.devices.end(), [&](const auto& d) { return d.name == side.device; });
  costmodel::DeviceSpec device = at != given.devices.end() ? *at : costmodel::find_device(side.device);
  for (const auto& [name, value] : side.device_fields) {
    device.*option_of(costmodel::device_fields(), name).member = value;
    device.provenance[name] = {costmodel::Origin::overridden, "explorer"};
  }
  if (!side.device_fields.empty()) device.name += ":" + listed(side.device_fields);
  return device;
}

std::vector<std::int32_t> query_tiles() {
  std::set<std::int32_t> tiles;
  for (const costmodel::KernelConfig& kernel : costmodel::kernel_catalog()) {
    if (kernel.name.starts_with("espalier_") && kernel.role == costmodel::KernelRole::attend) {
      tiles.insert(kernel.query_tile);
    }
  }
  return {tiles.begin(), tiles.end()};
}

std::string side_title(const Side& side) {
  std::string title = side.strategy;
  if (!side.options.empty()) title += ":" + listed(side.options);
  if (!side.cost_model.empty()) title += fmt::format(" [{}]", side.cost_model);
  if (side.query_tile > 0) title += fmt::format(", tile {}", side.query_tile);
  if (side.kernels == scheduler::KernelSet::published) title += ", published kernels";
  if (!side.edits.empty()) title += ", " + core::counted(static_cast<std::int64_t>(side.edits.size()), "edit");
  return title;
}

void History::remember(const Settings& before, const Change& change, bool held) {
  const bool same =
      open_ && held && change.knob == last_.knob && change.side == last_.side && change.name == last_.name;
  open_ = true;
  last_ = change;
  if (same) return;
  past_.push_back(before);
  if (past_.size() > kMostUndone) past_.erase(past_.begin());
  future_.clear();
}

bool History::undo(Settings& settings) {
  if (past_.empty()) return false;
  future_.push_back(std::move(settings));
  settings = std::move(past_.back());
  past_.pop_back();
  open_ = false;
  return true;
}

bool History::redo(Settings& settings) {
  if (future_.empty()) return false;
  past_.push_back(std::move(settings));
  settings = std::move(future_.back());
  future_.pop_back();
  open_ = false;
  return true;
}

void History::forget_edits(const Settings& now) {
  for (std::vector<Settings>* steps : {&past_, &future_}) {
    for (Settings& step : *steps) step.a.edits.clear(), step.b.edits.clear();
    steps->erase(std::unique(steps->begin(), steps->end()), steps->end());
    if (!steps->empty() && steps->back() == now) steps->pop_back();
  }
  open_ = false;
}

}  // namespace espalier::viz
