// What the explorer is asked to show: a batch, heads, and two sides (a strategy on a device) to plan and simulate. A
// value: equal settings give equal outcomes, a copy is an undo step, and every control changes it by one Change.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler/strategy.h"
#include "scheduler/timeline.h"
#include "traces/head_config.h"
#include "traces/prefix_forest.h"
#include "traces/replay.h"
#include "viz/explore/plan_edit.h"

namespace espalier::viz {

enum class SideId : std::uint8_t { a, b };
inline constexpr SideId kSides[] = {SideId::a, SideId::b};
/// "A", "B".
std::string_view side_name(SideId side);

using Numbers = std::map<std::string, double, std::less<>>;

/// A strategy on a device.
struct Side {
  std::string strategy = "espalier";
  Numbers options = {};             ///< that differ from the strategy's defaults
  std::string cost_model = {};      ///< empty: the strategy's own
  std::string device = "h100-sxm";  ///< of the catalog, or one of Given::devices
  Numbers device_fields = {};       ///< that differ from the device
  std::int32_t query_tile = 0;      ///< rows of the only kernels it may use; 0: all
  scheduler::KernelSet kernels = scheduler::KernelSet::ours;
  std::vector<PlanEdit> edits = {};  ///< by hand, of the plan that all of the above leads to; gone when that changes
  friend bool operator==(const Side&, const Side&) = default;
};

/// What a command line or a dropped file brought along; the rest of the settings says which of it is used.
struct Given {
  std::vector<std::shared_ptr<const traces::PrefixForest>> forests;
  std::shared_ptr<const traces::Trace> trace;       ///< in place of forests: whose running batch is shown, step by step
  traces::ReplayOptions replay;                     ///< of that trace
  std::int32_t page_size = 1;                       ///< of its batches
  std::vector<costmodel::DeviceSpec> devices;       ///< from files
  std::map<std::string, std::string> device_specs;  ///< what a command line calls those; "host": measured here
  std::string source;  ///< arguments of `view` that name the forests, the trace or the plan; empty: can't be read again
  std::string plan_source;                      ///< the same for `plan`; empty: it can't read them
  std::string measured_source;                  ///< the measurement's file
  std::vector<std::string> files;               ///< that were opened, in order, and can be opened again
  std::vector<std::string> named_files;         ///< that options of the command line name, which read them again
  std::shared_ptr<const scheduler::Plan> plan;  ///< of the first forest: shown by side A as it is
  std::shared_ptr<const scheduler::Plan>
      opened_plan;  ///< that plan as its file has it: a measurement shows it in the form in which it ran
  std::shared_ptr<const scheduler::Measurement>
      measurement;  ///< of that plan, with a timeline: what side B shows beside its simulation
};
/// Whether settings mean the same with both: neither batch, plan nor measurement was read anew. A device stays what its
/// name says.
bool same_inputs(const Given& a, const Given& b);

struct Settings {
  std::string family = "few_shot";  ///< generated batch; empty: one of Given::forests
  Numbers family_options = {};      ///< that differ from its defaults
  std::uint64_t seed = 1;
  std::int32_t snapshot = 0;  ///< of Given::forests
  std::int32_t running = 0;   ///< requests of the batch, evenly taken, or slots of a trace's replay; 0: as given
  /// Tokens that every request has decoded since; of a trace: the step, in which others may run.
  std::int32_t decode_step = 0;
  std::string model = {};  ///< whose heads these are; empty: none in particular
  traces::HeadConfig heads = {};
  bool given_plan = false;  ///< side A shows Given::plan
  bool measured = false;    ///< side B shows Given::measurement, as long as side A shows the plan
  bool compare = true;      ///< side B is shown, too
  bool rank = false;        ///< all strategies are wanted as a table, on side A's device
  Side a = {};
  Side b = {.strategy = "flash_decoding"};
  Side& side(SideId id) { return id == SideId::a ? a : b; }
  const Side& side(SideId id) const { return id == SideId::a ? a : b; }
  friend bool operator==(const Settings&, const Settings&) = default;
};

/// The batch that is shown when nothing was given: generated, of moderate size, and with something to find out.
Settings bundled_settings();

/// What one control sets.
enum class Knob : std::uint8_t {
  // the batch
  family,
  family_option,
  snapshot,
  running,
  decode_step,
  seed,
  // the heads
  model,
  q_heads,
  kv_heads,
  kv_dtype,
  // a side
  strategy,
  option,
  cost_model,
  device,
  device_field,
  device_reset,
  query_tile,
  kernels,
  // its plan: `name` of the edit, task
  edit,
  edit_reset,
  // both sides
  compare,
  swap,
};
struct Change {
  Knob knob = Knob::strategy;
  SideId side = SideId::a;
  std::string name = {};  ///< of the strategy, option, device, field, … chosen
  double value = 0;
  std::int32_t copy = 0, queue = 0;  ///< of an edit that moves a copy to a queue
};
/// Throws Error (usage) for an unknown name; numbers are clamped to their range.
void apply(Settings& settings, const Change& change, const Given& given);
/// The largest snapshot, number of running requests or decode step of the batch; the least is 0.
std::int32_t most_of(const Settings& settings, Knob knob, const Given& given);

/// Whether side B shows a run of side A's plan.
bool shows_measurement(const Settings& settings, const Given& given);
/// The device of a side, its fields changed. Throws Error (usage) for an unknown one.
costmodel::DeviceSpec device_of(const Side& side, const Given& given);
/// Query tiles of our kernels, ascending.
std::vector<std::int32_t> query_tiles();
/// "espalier", with what differs from the defaults: "codec:rounds=1", "espalier, tile 16".
std::string side_title(const Side& side);
/// Dozens of steps back and forth. Changes of one control that follow each other while it is held are one step.
class History {
 public:
  /// Call before `settings` change. `held`: the control stays the one of the last call.
  void remember(const Settings& before, const Change& change, bool held);
  bool undo(Settings& settings);
  bool redo(Settings& settings);
  /// Takes back edits in all steps: the plans that they were of are no more. Steps that change nothing then go.
  void forget_edits(const Settings& now);
  bool can_undo() const { return !past_.empty(); }
  bool can_redo() const { return !future_.empty(); }

 private:
  std::vector<Settings> past_, future_;
  Change last_;
  bool open_ = false;  ///< the last step may still grow
};

}  // namespace espalier::viz
