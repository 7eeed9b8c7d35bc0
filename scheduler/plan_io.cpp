// plan/1: a plan as one JSON object, tables as columns, forest and heads embedded. Reading checks every index before
// anything follows it, and the content hash last; whether the plan is right is the validator's question.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <functional>
#include <limits>

#include "core/error.h"
#include "core/hash.h"
#include "core/json.h"
#include "scheduler/column_io.h"
#include "scheduler/plan.h"
#include "traces/import.h"

namespace espalier::scheduler {
namespace {

using core::JsonView;
using core::JsonWriter;
using costmodel::KernelConfig;
using Range = ColumnWriter::Range;

// Names in the file, in the order of the enumerators.
constexpr std::array<std::string_view, 5> kTaskKinds{"padding", "attend", "scores", "softmax", "values"};
constexpr std::array<std::string_view, 2> kSlotKinds{"partial", "scores"};
constexpr std::array<std::string_view, 4> kDtypes{"fp32", "bf16", "fp16", "fp8_e4m3"};
constexpr std::array<std::string_view, 2> kOps{"log_sum_exp", "sum"};
constexpr std::array<std::string_view, 2> kPhaseKinds{"tasks", "steps"};
constexpr std::array<std::string_view, 3> kPhaseStarts{"together", "barrier", "on_arrival"};
constexpr std::array<std::string_view, 3> kFollows{"stream", "graph", "programmatic"};
constexpr std::array<std::string_view, 5> kRoles{"attend", "reduce", "scores", "softmax", "values"};
constexpr std::array<std::string_view, 4> kEngines{"mma_sync", "wgmma", "cuda_core", "cpu"};

constexpr std::int64_t kInt32 = std::numeric_limits<std::int32_t>::max();
constexpr Range kCount{0, kInt32};
constexpr Range kInt64{0, std::numeric_limits<std::int64_t>::max()};
constexpr Range kHeads{0, 4096};
constexpr Range kCopies{0, 1 << 24};

/// Rows of the tables that others point into.
struct Sizes {
  std::int64_t kernels, launches, dependencies, phases, tasks, segments, query_rows, fold_slots, slots, steps;
  std::int64_t reduction_inputs, queues, queue_items;
};

Sizes sizes_of(const Plan& p) {
  const auto n = [](const auto& column) { return static_cast<std::int64_t>(column.size()); };
  return {n(p.kernels),          n(p.launches),   n(p.dependencies), n(p.phases), n(p.tasks),
          n(p.segments),         n(p.query_rows), n(p.fold_slots),   n(p.slots),  n(p.steps),
          n(p.reduction_inputs), n(p.queues),     n(p.queue_items)};
}

Sizes sizes_of(const JsonView& root) {
  const auto n = [&](std::string_view table, std::string_view column) {
    return static_cast<std::int64_t>(root.at(table).at(column).size());
  };
  const auto flat = [&](std::string_view column) { return static_cast<std::int64_t>(root.at(column).size()); };
  return {n("kernels", "name"),
          n("launches", "phases_begin"),
          flat("dependencies"),
          n("phases", "kind"),
          n("tasks", "kind"),
          n("segments", "node"),
          flat("query_rows"),
          flat("fold_slots"),
          n("slots", "kind"),
          n("steps", "inputs_begin"),
          n("reduction_inputs", "slot"),
          n("queues", "items_begin"),
          n("queue_items", "task")};
}

Range row_of(std::int64_t size) { return {0, size - 1}; }
Range row_or_none(std::int64_t size) { return {-1, size - 1}; }

/// Columns `name`_begin and `name`_end: bounds of a table of `size` rows. That begin <= end is checked afterwards.
template <class Io, class Rows, class Get>
void interval(Io& io, const std::string& name, Rows& rows, std::int64_t size, Get get) {
  const auto bound = [get](std::int32_t Interval::*end) {
    return [=](auto& row) -> decltype(auto) { return (std::invoke(get, row).*end); };
  };
  io.integer(name + "_begin", rows, {0, size}, bound(&Interval::begin));
  io.integer(name + "_end", rows, {0, size}, bound(&Interval::end));
}

/// The number of an id, as a column of integers.
template <class Row, class Id>
auto number_of(Id Row::*id) {
  return [id](auto& row) -> decltype(auto) { return ((row.*id).value); };
}

template <class Io, class Rows>
void kernel_columns(Io& io, Rows& rows) {
  io.table("kernels", rows, [&] {
    io.plain("name", rows, &KernelConfig::name);
    io.named("role", rows, kRoles, &KernelConfig::role);
    io.named("engine", rows, kEngines, &KernelConfig::engine);
    io.integer("query_tile", rows, {1, kInt32}, &KernelConfig::query_tile);
    io.integer("kv_tile", rows, {1, kInt32}, &KernelConfig::kv_tile);
    io.integer("rows_per_warp", rows, {1, kInt32}, &KernelConfig::rows_per_warp);
    io.plain("packs_heads", rows, &KernelConfig::packs_heads);
    io.integer("stages", rows, kCount, &KernelConfig::stages);
    io.integer("warps", rows, kCount, &KernelConfig::warps);
    io.integer("smem_bytes", rows, kCount, &KernelConfig::smem_bytes);
    io.integer("registers", rows, kCount, &KernelConfig::registers);
    io.integer("cluster", rows, kCount, &KernelConfig::cluster);
    io.integer_or_zero("lookups", rows, kCount, &KernelConfig::lookups);
    io.named("partial_dtype", rows, kDtypes, &KernelConfig::partial_dtype);
    io.plain("overlap", rows, &KernelConfig::overlap);
    io.plain("efficiency", rows, &KernelConfig::efficiency);
    io.plain("implemented", rows, &KernelConfig::implemented);
    io.plain("origin", rows, &KernelConfig::origin);
  });
}

template <class Io, class P>
void launch_columns(Io& io, P& plan, const Sizes& n) {
  auto& launches = plan.launches.raw();
  io.table("launches", launches, [&] {
    interval(io, "phases", launches, n.phases, &Launch::phases);
    interval(io, "dependencies", launches, n.dependencies, &Launch::dependencies);
    io.integer("stream", launches, kCount, &Launch::stream);
    io.named("follow", launches, kFollows, &Launch::follow);
    io.integer("workers", launches, {0, n.queues}, &Launch::workers);
    io.integer("queue_begin", launches, {0, n.queues}, &Launch::queue_begin);
  });
  auto& phases = plan.phases;
  io.table("phases", phases, [&] {
    io.named("kind", phases, kPhaseKinds, &Phase::kind);
    interval(io, "range", phases, std::max(n.tasks, n.steps), &Phase::range);
    io.integer("kernel", phases, row_of(n.kernels), number_of(&Phase::kernel));
    io.named("start", phases, kPhaseStarts, &Phase::start);
  });
}

template <class Io, class P>
void task_columns(Io& io, P& plan, const Sizes& n) {
  auto& tasks = plan.tasks.raw();
  io.table("tasks", tasks, [&] {
    io.named("kind", tasks, kTaskKinds, &Task::kind);
    interval(io, "segments", tasks, n.segments, &Task::segments);
    interval(io, "queries", tasks, n.query_rows, &Task::queries);
    io.integer("head_begin", tasks, kHeads, &Task::head_begin);
    io.integer("head_count", tasks, kHeads, &Task::head_count);
    io.integer("copies", tasks, kCopies, &Task::copies);
    io.integer("slot", tasks, row_or_none(n.slots), number_of(&Task::slot));
    interval(io, "folds", tasks, n.fold_slots, &Task::folds);
  });
  auto& segments = plan.segments;
  io.table("segments", segments, [&] {
    io.integer("node", segments, row_of(static_cast<std::int64_t>(plan.forest.node_count())),
               number_of(&Segment::node));
    io.integer("token_begin", segments, kCount, &Segment::token_begin);
    io.integer("token_end", segments, {kToNodeEnd, kInt32}, &Segment::token_end);
    io.integer("row_begin", segments, kCount, &Segment::row_begin);
    io.integer("row_end", segments, kCount, &Segment::row_end);
  });
}

template <class Io, class P>
void slot_columns(Io& io, P& plan, const Sizes& n) {
  auto& slots = plan.slots.raw();
  io.table("slots", slots, [&] {
    io.named("kind", slots, kSlotKinds, &Slot::kind);
    interval(io, "queries", slots, n.query_rows, &Slot::queries);
    io.integer("head_begin", slots, kHeads, &Slot::head_begin);
    io.integer("head_count", slots, kHeads, &Slot::head_count);
    io.named("dtype", slots, kDtypes, &Slot::dtype);
    io.integer("columns", slots, kInt64, &Slot::columns);
    io.integer("offset_bytes", slots, kInt64, &Slot::offset);
  });
  auto& steps = plan.steps.raw();
  io.table("steps", steps, [&] {
    interval(io, "inputs", steps, n.reduction_inputs, &ReductionStep::inputs);
    io.integer("rows", steps, kCount, &ReductionStep::rows);
    io.integer("out", steps, row_or_none(n.slots), number_of(&ReductionStep::out));
    io.integer("out_row", steps, kCount, &ReductionStep::out_row);
    io.integer("head_begin", steps, kHeads, &ReductionStep::head_begin);
    io.integer("head_count", steps, kHeads, &ReductionStep::head_count);
    io.named("op", steps, kOps, &ReductionStep::op);
  });
  auto& inputs = plan.reduction_inputs;
  io.table("reduction_inputs", inputs, [&] {
    io.integer("slot", inputs, row_of(n.slots), number_of(&RowRef::slot));
    io.integer("row", inputs, kCount, &RowRef::row);
  });
}

template <class Io, class P>
void queue_columns(Io& io, P& plan, const Sizes& n) {
  auto& queues = plan.queues;
  io.table("queues", queues, [&] { interval(io, "items", queues, n.queue_items, std::identity()); });
  auto& items = plan.queue_items;
  io.table("queue_items", items, [&] {
    io.integer("task", items, row_of(n.tasks), number_of(&QueueItem::task));
    io.integer("copy", items, kCopies, &QueueItem::copy);
  });
}

template <class Io, class P>
void all_columns(Io& io, P& plan, const Sizes& n) {
  kernel_columns(io, plan.kernels.raw());
  launch_columns(io, plan, n);
  task_columns(io, plan, n);
  slot_columns(io, plan, n);
  queue_columns(io, plan, n);
}

template <class Id>
void write_ids(JsonWriter& out, std::string_view name, const std::vector<Id>& ids) {
  out.key(name).begin_array();
  for (const Id id : ids) out.value(id.value);
  out.end_array();
}

template <class Id>
std::vector<Id> read_ids(const JsonView& view, std::int64_t size) {
  std::vector<Id> ids;
  ids.reserve(view.size());
  for (const std::int64_t id : view.integers(0, size - 1)) ids.push_back(Id(static_cast<std::int32_t>(id)));
  return ids;
}

void write_heads(JsonWriter& out, const traces::HeadConfig& heads) {
  out.begin_object();
  out.field("q_heads", heads.q_heads).field("kv_heads", heads.kv_heads);
  out.field("qk_dim", heads.qk_dim).field("v_dim", heads.v_dim);
  out.field("q_dtype", traces::dtype_name(heads.q_dtype)).field("kv_dtype", traces::dtype_name(heads.kv_dtype));
  out.field("v_in_k", heads.v_in_k).field("scale", heads.scale);
  out.end_object();
}

traces::Dtype read_dtype(const JsonView& view) {
  if (const auto dtype = traces::dtype_of(view.string())) return *dtype;
  throw core::bad_input(view.where(), "fp32, bf16, fp16 or fp8_e4m3", fmt::format("\"{}\"", view.string()));
}

traces::HeadConfig read_heads(const JsonView& object) {
  object.allow_only({"q_heads", "kv_heads", "qk_dim", "v_dim", "q_dtype", "kv_dtype", "v_in_k", "scale"});
  const auto size = [&](std::string_view key) { return static_cast<std::int32_t>(object.at(key).integer(1, kInt32)); };
  traces::HeadConfig heads;
  heads.q_heads = size("q_heads");
  heads.kv_heads = size("kv_heads");
  heads.qk_dim = size("qk_dim");
  heads.v_dim = size("v_dim");
  heads.q_dtype = read_dtype(object.at("q_dtype"));
  heads.kv_dtype = read_dtype(object.at("kv_dtype"));
  heads.v_in_k = object.at("v_in_k").boolean();
  heads.scale = object.at("scale").number();
  traces::check_heads(heads, object.where());
  return heads;
}

void write_provenance(JsonWriter& out, const Provenance& p) {
  out.begin_object();
  out.field("strategy", p.strategy).key("options").begin_object();
  for (const auto& [name, option] : p.options) out.field(name, option);
  out.end_object();
  // Seeds are 64 bits, JSON integers of this project 63 and a sign: those beyond come out negative and read back the
  // same.
  out.field("cost_model", p.cost_model).field("device", p.device).field("kernels", p.kernels);
  out.field("seed", static_cast<std::int64_t>(p.seed)).field("graph_safe", p.graph_safe).field("why", p.why);
  out.end_object();
}

Provenance read_provenance(const JsonView& object) {
  object.allow_only({"strategy", "options", "cost_model", "device", "kernels", "seed", "graph_safe", "why"});
  Provenance p;
  p.strategy = object.at("strategy").string();
  const JsonView options = object.at("options");
  for (const std::string& name : options.keys()) p.options[name] = options.at(name).string();
  p.cost_model = object.at("cost_model").string();
  p.device = object.at("device").string();
  p.kernels = object.at("kernels").string();
  p.seed = static_cast<std::uint64_t>(object.at("seed").integer());
  p.graph_safe = object.at("graph_safe").boolean();
  p.why = object.at("why").strings();
  return p;
}

traces::PrefixForest read_plan_forest(const JsonView& object) {
  traces::PrefixForest forest = traces::read_forest(object);
  // Node and request numbers of the plan mean rows of these columns: a reader that renumbers would change what it says.
  const auto same = [](const auto& ids, const std::vector<std::int64_t>& rows) {
    return std::equal(ids.begin(), ids.end(), rows.begin(), rows.end(),
                      [](auto id, std::int64_t row) { return id.value == row; });
  };
  if (!same(forest.parent, object.at("parent").integers()) || !same(forest.leaf, object.at("leaf").integers())) {
    throw core::bad_input(object.where(), "nodes and requests in depth-first order, none empty or unread",
                          "another order");
  }
  try {
    traces::check_forest(forest);
  } catch (const core::InvariantError& broken) {
    throw core::bad_input(object.where(), "a well-formed forest", broken.what());
  }
  return forest;
}

class IndexCheck {
 public:
  explicit IndexCheck(const JsonView& root) : root_(root) {}

  void at_most(std::string_view column, std::size_t row, std::int64_t high, std::int64_t got) const {
    if (got <= high) return;
    throw core::bad_input(fmt::format("{}: {}[{}]", root_.where(), column, row), fmt::format("at most {}", high),
                          std::to_string(got));
  }
  void ordered(std::string_view name, std::size_t row, Interval i) const {
    if (i.begin > i.end) at_most(fmt::format("{}_begin", name), row, i.end, i.begin);
  }

 private:
  JsonView root_;
};

/// What single columns can't say: interval ends in order, rows inside the slot or list they point into.
void check_indices(const Plan& plan, const JsonView& root) {
  const IndexCheck check(root);
  for (std::size_t i = 0; i < plan.launches.size(); ++i) {
    const Launch& launch = plan.launches.raw()[i];
    check.ordered("launches.phases", i, launch.phases);
    check.ordered("launches.dependencies", i, launch.dependencies);
    const auto queues = static_cast<std::int64_t>(plan.queues.size());
    check.at_most("launches.queue_begin", i, queues - launch.workers, launch.queue_begin);
  }
  for (std::size_t i = 0; i < plan.phases.size(); ++i) {
    const Phase& phase = plan.phases[i];
    const std::size_t rows = phase.kind == PhaseKind::tasks ? plan.tasks.size() : plan.steps.size();
    check.ordered("phases.range", i, phase.range);
    check.at_most("phases.range_end", i, static_cast<std::int64_t>(rows), phase.range.end);
  }
  for (std::size_t i = 0; i < plan.tasks.size(); ++i) {
    const Task& task = plan.tasks.raw()[i];
    check.ordered("tasks.segments", i, task.segments);
    check.ordered("tasks.queries", i, task.queries);
    check.ordered("tasks.folds", i, task.folds);
    // Consumers compute head_begin + head_count * copies in 32 bits.
    if (task.head_count > 0) check.at_most("tasks.copies", i, kHeads.high, task.copies);
  }
  for (std::size_t i = 0; i < plan.slots.size(); ++i) check.ordered("slots.queries", i, plan.slots.raw()[i].queries);
  for (std::size_t i = 0; i < plan.queues.size(); ++i) check.ordered("queues.items", i, plan.queues[i]);
  for (std::size_t i = 0; i < plan.reduction_inputs.size(); ++i) {
    const RowRef& input = plan.reduction_inputs[i];
    check.at_most("reduction_inputs.row", i, plan.slots[input.slot].queries.size() - 1, input.row);
  }
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const ReductionStep& step = plan.steps.raw()[i];
    check.ordered("steps.inputs", i, step.inputs);
    const std::int64_t rows =
        step.out.valid() ? plan.slots[step.out].queries.size() : static_cast<std::int64_t>(plan.query_rows.size());
    check.at_most("steps.out_row", i, rows - step.rows, step.out_row);
    for (std::int32_t j = step.inputs.begin; j < step.inputs.end; ++j) {
      const RowRef& input = plan.reduction_inputs[static_cast<std::size_t>(j)];
      check.at_most("steps.rows", i, plan.slots[input.slot].queries.size() - input.row, step.rows);
    }
  }
}

void check_hash(const Plan& plan, const JsonView& view) {
  const std::string expected = core::hash_text(plan_hash(plan));
  if (view.string() != expected) {
    throw core::bad_input(view.where(), fmt::format("hash {} (of the content)", expected), view.string());
  }
}

}  // namespace

std::string write_plan(const Plan& plan) {
  JsonWriter out;
  out.begin_object();
  out.field("schema", "plan/1").field("hash", core::hash_text(plan.hash));
  out.key("provenance");
  write_provenance(out, plan.provenance);
  out.key("heads");
  write_heads(out, plan.heads);
  out.key("forest");
  traces::write_forest(out, plan.forest);
  out.field("workspace_bytes", plan.workspace_bytes);
  ColumnWriter io(out);
  all_columns(io, plan, sizes_of(plan));
  write_ids(out, "dependencies", plan.dependencies);
  write_ids(out, "query_rows", plan.query_rows);
  write_ids(out, "fold_slots", plan.fold_slots);
  out.end_object();
  return out.finish();
}

Plan read_plan(std::string_view text, const std::string& file) {
  const auto document = core::JsonDocument::parse(text, file);
  const JsonView root = document.root();
  root.require_schema("plan/1");
  root.allow_only({"schema", "hash", "provenance", "heads", "forest", "workspace_bytes", "kernels", "launches",
                   "phases", "tasks", "segments", "slots", "steps", "reduction_inputs", "queues", "queue_items",
                   "dependencies", "query_rows", "fold_slots"});
  Plan plan;
  plan.provenance = read_provenance(root.at("provenance"));
  plan.heads = read_heads(root.at("heads"));
  plan.forest = read_plan_forest(root.at("forest"));
  plan.workspace_bytes = root.at("workspace_bytes").integer(0);
  const Sizes n = sizes_of(root);
  ColumnReader io(root);
  all_columns(io, plan, n);
  for (const KernelId k : core::ids<KernelId>(plan.kernels.size())) {
    costmodel::check_kernel(plan.kernels[k], fmt::format("{}[{}]", root.at("kernels").where(), k.value));
  }
  plan.dependencies = read_ids<LaunchId>(root.at("dependencies"), n.launches);
  plan.query_rows = read_ids<RequestId>(root.at("query_rows"), static_cast<std::int64_t>(plan.forest.request_count()));
  plan.fold_slots = read_ids<SlotId>(root.at("fold_slots"), n.slots);
  check_indices(plan, root);
  check_hash(plan, root.at("hash"));
  plan.hash = plan_hash(plan);
  return plan;
}

}  // namespace espalier::scheduler
