// What-if: the strategy and the device of a side, the batch, the heads. Every control is one Change.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "traces/families.h"
#include "viz/explore/batch.h"
#include "viz/ui/panels.h"

namespace espalier::viz {
namespace {

using Names = std::vector<std::string>;

std::size_t place_of(const Names& names, std::string_view name) {
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

/// Offers `names` and changes `knob` to the one picked.
void choose(const PanelContext& c, const char* label, const Names& names, std::string_view current, Knob knob) {
  if (const auto picked = c.ui.combo(label, names, place_of(names, current))) c.change(knob, names[*picked]);
}

/// Wide ranges get a logarithmic slider.
Widgets::Range range_of(double low, double high, bool whole) {
  Widgets::Range range{low, high, whole, false, whole ? "%.0f" : "%.3g"};
  range.log = low >= 0 && high >= 1000 * std::max(1.0, low);
  return range;
}

double value_or(const Numbers& numbers, std::string_view name, double fallback) {
  const auto at = numbers.find(name);
  return at == numbers.end() ? fallback : at->second;
}

void number(const PanelContext& c, std::string_view name, double value, const Widgets::Range& range, Knob knob) {
  if (c.ui.slider(std::string(name).c_str(), value, range)) c.change(knob, std::string(name), value);
}

void strategy_controls(const PanelContext& c, const Side& side) {
  Names names;
  for (const scheduler::Strategy* s : scheduler::strategies()) names.emplace_back(s->info().name);
  choose(c, "strategy", names, side.strategy, Knob::strategy);
  const scheduler::StrategyInfo& info = scheduler::find_strategy(side.strategy).info();
  for (const scheduler::StrategyOption& o : info.options) {
    const bool whole =
        o.fallback == std::round(o.fallback) && o.low == std::round(o.low) && o.high == std::round(o.high);
    number(c, o.name, value_or(side.options, o.name, o.fallback), range_of(o.low, o.high, whole), Knob::option);
  }
  if (info.uses_cost_model) {
    Names models = {info.own_cost_model.empty() ? std::string("own") : fmt::format("own: {}", info.own_cost_model)};
    for (const std::string& name : costmodel::cost_model_names()) {
      if (name != "table") models.push_back(name);
    }
    const std::size_t chosen = side.cost_model.empty() ? 0 : place_of(models, side.cost_model);
    if (const auto picked = c.ui.combo("cost model", models, chosen)) {
      c.change(Knob::cost_model, *picked == 0 ? "" : models[*picked]);
    }
  }
  const std::vector<std::int32_t> tiles = query_tiles();
  Names tile_names = {"all"};
  std::size_t chosen = 0;
  for (const std::int32_t tile : tiles) {
    if (tile == side.query_tile) chosen = tile_names.size();
    tile_names.push_back(fmt::format("{} rows", tile));
  }
  if (const auto picked = c.ui.combo("kernel tile", tile_names, chosen)) {
    c.change(Knob::query_tile, "", *picked == 0 ? 0 : tiles[*picked - 1]);
  }
  const auto published = side.kernels == scheduler::KernelSet::published;
  if (const auto picked = c.ui.combo("kernels", {"ours", "published"}, published ? 1 : 0)) {
    c.change(Knob::kernels, "", static_cast<double>(*picked));
  }
}

struct DeviceKnob {
  const char* field;
  const char* label;
  const char* format;
};
constexpr DeviceKnob kDeviceKnobs[] = {
    {"sms", "SMs", "%.0f"},
    {"clock_ghz", "clock", "%.2f GHz"},
    {"hbm_gbps", "HBM", "%.0f GB/s"},
    {"l2_mib", "L2 size", "%.0f MiB"},
    {"l2_bytes_per_clk", "L2 rate", "%.0f B/clk"},
    {"launch_graph_us", "launch gap", "%.2f µs"},
};

void device_controls(const PanelContext& c, const Side& side) {
  Names names;
  for (const costmodel::DeviceSpec& device : c.session.given.devices) names.push_back(device.name);
  for (const costmodel::DeviceSpec& device : costmodel::device_catalog()) names.push_back(device.name);
  choose(c, "device", names, side.device, Knob::device);
  const costmodel::DeviceSpec device = device_of(side, c.session.given);
  Side plain = side;
  plain.device_fields.clear();
  const costmodel::DeviceSpec base = device_of(plain, c.session.given);
  for (const DeviceKnob& knob : kDeviceKnobs) {
    const auto& fields = costmodel::device_fields();
    const auto field = std::find_if(fields.begin(), fields.end(), [&](const auto& f) { return f.name == knob.field; });
    const double usual = base.*field->member;
    double value = device.*field->member;
    Widgets::Range range{std::max(field->low, usual / 4), std::min(field->high, usual * 4), field->whole, true,
                         knob.format};
    if (c.ui.slider(knob.label, value, range)) c.change(Knob::device_field, knob.field, value);
  }
  if (!side.device_fields.empty() && c.ui.button("as it is")) c.change(Knob::device_reset, "");
}

void batch_controls(const PanelContext& c) {
  const Settings& settings = c.session.settings;
  Names names;
  const bool trace = replays_trace(settings, c.session.given);
  if (!c.session.given.forests.empty() || c.session.given.trace != nullptr) names.emplace_back("from file");
  for (const traces::Family& family : traces::families()) names.emplace_back(family.name);
  const std::string current = settings.family.empty() ? "from file" : settings.family;
  if (const auto picked = c.ui.combo("batch", names, place_of(names, current))) {
    c.change(Knob::family, names[*picked] == "from file" ? "" : names[*picked]);
  }
  for (const traces::Family& family : traces::families()) {
    if (family.name != settings.family) continue;
    for (const traces::FamilyOption& o : family.options) {
      Widgets::Range range = range_of(o.low, o.high, o.kind == traces::OptionKind::whole);
      if (o.choices.empty() && o.fallback > 0) {  // beyond what a batch on one GPU holds there is nothing to see
        range.high = std::min(o.high, o.fallback * 16);
        range.log = range.high >= 200 * std::max(1.0, o.low);
      }
      number(c, o.name, value_or(settings.family_options, o.name, o.fallback), range, Knob::family_option);
    }
  }
  const auto snapshots = static_cast<double>(c.session.given.forests.size());
  if (settings.family.empty() && snapshots > 1) {
    number(c, "snapshot", settings.snapshot, {0, snapshots - 1, true, false, "%.0f"}, Knob::snapshot);
  }
  // As many as there are is "as given", but for a trace, whose slots may be more.
  const double most = std::max(1, c.outcome.most_running);
  double running = settings.running > 0 ? settings.running : trace ? c.session.given.replay.running : most;
  if (c.ui.slider("running", running, {1, most, true, most > 200, "%.0f"})) {
    c.change(Knob::running, "", !trace && running >= most ? 0 : running);
  }
  const double last = std::max(1.0, static_cast<double>(c.outcome.steps) - 1);
  double step = trace && c.outcome.steps > 0 ? std::min<double>(settings.decode_step, last) : settings.decode_step;
  const Widgets::Range steps =
      trace ? Widgets::Range{0, last, true, false, "%.0f"} : Widgets::Range{0, 1024, true, false, "+%.0f tokens"};
  if (c.ui.slider(trace ? "step" : "decoded", step, steps)) c.change(Knob::decode_step, "", step);
  if (c.ui.button(c.session.look.playing ? "Stop" : "Decode on")) c.act(Play{!c.session.look.playing});
}

void head_controls(const PanelContext& c) {
  const Settings& settings = c.session.settings;
  Names names;
  for (const traces::Model& model : traces::models()) names.emplace_back(model.name);
  if (settings.model.empty()) names.insert(names.begin(), "of its own");
  if (const auto picked = c.ui.combo("model", names, settings.model.empty() ? 0 : place_of(names, settings.model));
      picked && names[*picked] != "of its own") {
    c.change(Knob::model, names[*picked]);
  }
  double q = settings.heads.q_heads, kv = settings.heads.kv_heads;
  if (c.ui.slider("query heads", q, {1, 128, true, false, "%.0f"})) c.change(Knob::q_heads, "", q);
  if (c.ui.slider("KV heads", kv, {1, 64, true, false, "%.0f"})) c.change(Knob::kv_heads, "", kv);
  choose(c, "KV dtype", {"bf16", "fp16", "fp8_e4m3"}, traces::dtype_name(settings.heads.kv_dtype), Knob::kv_dtype);
}

}  // namespace

void controls_panel(const PanelContext& c) {
  Widgets& ui = c.ui;
  ui.begin_card("controls", c.regions.controls, nullptr);
  const Side& side = c.session.settings.side(c.session.look.edited);
  if (c.session.settings.compare) {
    const Names labels = {"Side A", "Side B"};
    if (const auto picked = ui.segments("side", labels, static_cast<std::size_t>(c.session.look.edited))) {
      c.act(EditSide{static_cast<SideId>(*picked)});
    }
  } else {
    ui.heading("Strategy");
  }
  strategy_controls(c, side);
  ui.heading("Device");
  device_controls(c, side);
  ui.heading("Batch");
  batch_controls(c);
  ui.heading("Heads");
  head_controls(c);
  ui.cover_cut_row(c.regions.controls);
  ui.end_card();
}

}  // namespace espalier::viz
