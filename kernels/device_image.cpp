// The pieces of a plan on a device, one after another.
#include "kernels/device_image.h"

#include "core/units.h"
#include "kernels/device_tensors.h"

namespace espalier::kernels {
namespace {

using emulator::MemoryKind;
using scheduler::Plan;

constexpr float kLog2E = 1.4426950408889634F;

class Placing {
 public:
  Placing(const Plan& plan, const DevicePlan& lowered, const ColumnSizes& room, const DevicePlacer& place)
      : plan_(plan), lowered_(lowered), room_(room), place_(place) {}

  DeviceImage run() {
    place_columns();
    place_lowered();
    Tensors& t = image_.tensors;
    t.workspace = place_({"workspace", MemoryKind::partials, static_cast<std::size_t>(room_.partial_bytes)});
    t.q_heads = plan_.heads.q_heads;
    t.group = plan_.heads.group();
    t.scale_log2 = static_cast<float>(plan_.heads.softmax_scale()) * kLog2E;
    return std::move(image_);
  }

 private:
  template <class T>
  const T* column(const char* name, const std::vector<T>& values, std::int64_t room) {
    return static_cast<const T*>(
        place_({.name = name,
                .kind = MemoryKind::plan,
                .bytes = static_cast<std::size_t>(core::checked_mul(room, static_cast<std::int64_t>(sizeof(T)))),
                .from = values.data(),
                .given = values.size() * sizeof(T)}));
  }
  template <class Id>
  const std::int32_t* ids(const char* name, const std::vector<Id>& values, std::int64_t room) {
    static_assert(sizeof(Id) == sizeof(std::int32_t));
    return reinterpret_cast<const std::int32_t*>(column(name, values, room));
  }
  /// The padded column where there is one.
  template <class T>
  static const std::vector<T>& either(const std::vector<T>& padded, const std::vector<T>& own) {
    return padded.empty() ? own : padded;
  }

  void place_columns() {
    const traces::PageTable& pages = plan_.forest.pages;
    PlanColumns& c = image_.columns;
    c.segments = column("segments", plan_.segments, room_.segments);
    c.tasks = column("tasks", either(lowered_.tasks, plan_.tasks.raw()), room_.tasks);
    c.query_rows = ids("query rows", plan_.query_rows, room_.query_rows);
    c.fold_slots = ids("folds", plan_.fold_slots, room_.fold_slots);
    c.slots = column("slots", plan_.slots.raw(), room_.slots);
    c.steps = column("steps", plan_.steps.raw(), room_.steps);
    c.reduction_inputs = column("reduction inputs", plan_.reduction_inputs, room_.reduction_inputs);
    image_.queue_items = column("queue items", plan_.queue_items, room_.queue_items);
    image_.queues = column("queues", either(lowered_.queues, plan_.queues), room_.queues);
    const auto& page_ids = either(lowered_.page_ids, pages.page_ids);
    const bool padded = !lowered_.tasks.empty();  // these list their pages always
    c.page_ids = page_ids.empty() && !padded ? nullptr : column("page ids", page_ids, room_.page_ids);
    c.page_size = pages.page_size;
    c.node_first_page = column("first pages", pages.first_page.raw(), room_.nodes);
    c.node_first_offset = column("first offsets", pages.first_offset.raw(), room_.nodes);
    // These and the tasks' facts, which are placed next, change at every step: a server copies one range.
    c.node_tokens = column("node tokens", plan_.forest.tokens.raw(), room_.nodes);
  }

  void place_lowered() {
    PlanColumns& c = image_.columns;
    c.facts = column("task facts", lowered_.facts, room_.tasks);
    c.arrivals = column("arrivals", lowered_.arrivals, room_.arrivals);
    c.step_arrivals = column("step arrivals", lowered_.step_arrivals, room_.step_arrivals);
    if (room_.task_arrivals > 0) {
      image_.task_arrivals = column("task arrivals", lowered_.task_arrivals, room_.task_arrivals);
    }
    image_.items = column("items", lowered_.items, room_.items);
    if (room_.mates > 0) image_.mates = column("mates", lowered_.mates, room_.mates);
    const auto counter_bytes = static_cast<std::size_t>(workspace_size(plan_, lowered_).counter_bytes);
    image_.counters =
        static_cast<std::uint32_t*>(place_({"counters", MemoryKind::counters, counter_bytes, nullptr, true}));
    image_.arrival_counters = lowered_.counters;
    for (const DeviceLaunch& launch : lowered_.launches) {
      const std::vector<StepRows>& steps = launch.merge.steps;
      image_.merge_steps.push_back(
          launch.merge.rows > 0 ? column("merge steps", steps, static_cast<std::int64_t>(steps.size())) : nullptr);
    }
  }

  const Plan& plan_;
  const DevicePlan& lowered_;
  const ColumnSizes& room_;
  const DevicePlacer& place_;
  DeviceImage image_;
};

void place_tensors(const Plan& plan, const DeviceInputs& inputs, traces::Dtype row_dtype, const DevicePlacer& place,
                   Tensors& t) {
  const traces::HeadConfig& heads = plan.heads;
  const auto tensor = [&](const char* name, MemoryKind kind, std::int64_t bytes, const void* from = nullptr) {
    const auto size = static_cast<std::size_t>(bytes);
    return place({name, kind, size, from, false, from == nullptr ? 0 : size});
  };
  const std::int32_t page_size = plan.forest.pages.page_size;
  const std::int64_t rows = core::checked_mul(static_cast<std::int64_t>(plan.forest.request_count()), heads.q_heads);
  const std::int64_t kv = core::checked_mul(cache_rows(plan), traces::dtype_bytes(heads.kv_dtype));
  t.queries =
      tensor("queries", MemoryKind::query, rows * heads.qk_dim * traces::dtype_bytes(heads.q_dtype), inputs.queries);
  t.keys = heads_first(tensor("keys", MemoryKind::kv, core::checked_mul(kv, heads.qk_dim), inputs.keys), heads,
                       page_size, heads.qk_dim);
  t.values = heads_first(
      heads.v_in_k ? nullptr : tensor("values", MemoryKind::kv, core::checked_mul(kv, heads.v_dim), inputs.values),
      heads, page_size, heads.v_dim);
  t.rows = tensor("rows", MemoryKind::output, rows * heads.v_dim * traces::dtype_bytes(row_dtype));
  t.lse = static_cast<float*>(tensor("log-sum-exps", MemoryKind::lse, rows * static_cast<std::int64_t>(sizeof(float))));
  t.row_dtype = row_dtype;
}

}  // namespace

PagedRows heads_first(const void* base, const traces::HeadConfig& heads, std::int32_t page_size, std::int64_t columns) {
  const std::int64_t row = columns * traces::dtype_bytes(heads.kv_dtype);
  const std::int64_t head = row * page_size;
  return {base, head * heads.kv_heads, row, head};
}

DeviceImage place_plan(const Plan& plan, const DevicePlan& lowered, const ColumnSizes& room,
                       const DevicePlacer& place) {
  return Placing(plan, lowered, room, place).run();
}

DeviceImage place_on_device(const Plan& plan, const DevicePlan& lowered, const DeviceInputs& inputs,
                            traces::Dtype row_dtype, const DevicePlacer& place) {
  DeviceImage image = place_plan(plan, lowered, column_sizes(plan, lowered), place);
  place_tensors(plan, inputs, row_dtype, place, image.tensors);
  return image;
}

std::int64_t device_bytes(const Plan& plan, const DevicePlan& lowered, traces::Dtype row_dtype) {
  std::int64_t sum = 0;
  const DevicePlacer count = [&](const DevicePiece& piece) -> void* {
    sum += placed_bytes(piece);
    return nullptr;
  };
  place_on_device(plan, lowered, {}, row_dtype, count);
  return sum;
}

EventLayout event_layout(const Plan& plan, const DevicePlan& lowered) {
  EventLayout layout;
  const auto next = [&](std::size_t records) {
    const std::int32_t place = layout.count;
    layout.count += static_cast<std::int32_t>(records);
    return place;
  };
  layout.queue_items = next(plan.queue_items.size());
  layout.items = next(lowered.items.size());
  layout.arrivals = next(static_cast<std::size_t>(lowered.counters));
  for (const DeviceLaunch& launch : lowered.launches) {
    layout.merges.push_back(next(launch.merge.rows > 0 ? static_cast<std::size_t>(launch.blocks) : 0));
  }
  return layout;
}

void place_events(const Plan& plan, const DevicePlan& lowered, DeviceImage& image, const DevicePlacer& place) {
  image.event_places = event_layout(plan, lowered);
  const std::size_t bytes = static_cast<std::size_t>(image.event_places.count) * sizeof(EventRecord);
  image.events = static_cast<EventRecord*>(place({"events", MemoryKind::other, bytes, nullptr, true}));
}

namespace {

EventPlaces event_places(const DeviceImage& image, const DevicePlan& lowered, std::size_t index) {
  if (image.events == nullptr) return {};
  const EventLayout& layout = image.event_places;
  const DeviceLaunch& launch = lowered.launches[index];
  return {image.events + (launch.queue_begin >= 0 ? layout.queue_items : layout.items + launch.items.begin),
          image.events + layout.arrivals, image.events + layout.merges[index]};
}

}  // namespace

AttendParams attend_params(const DeviceImage& image, const DevicePlan& lowered, std::size_t index) {
  const DeviceLaunch& launch = lowered.launches[index];
  AttendParams params{};
  params.plan = image.columns;
  params.plan.task_arrivals = launch.arrivals ? image.task_arrivals : nullptr;
  params.tensors = image.tensors;
  const bool queued = launch.queue_begin >= 0;
  params.items = queued ? image.queue_items : image.items + launch.items.begin;
  if (launch.cluster > 1) params.mates = image.mates + launch.items.begin;
  params.queues = queued ? image.queues + launch.queue_begin : nullptr;
  params.counters = image.counters;
  params.arrival_counters = image.arrival_counters;
  params.barrier_steps = image.merge_steps[index];
  params.barrier_step_count = static_cast<std::int32_t>(launch.merge.steps.size());
  params.barrier_rows = launch.merge.rows;
  params.events = event_places(image, lowered, index);
  return params;
}

ReduceParams reduce_params(const DeviceImage& image, const DevicePlan& lowered, std::size_t index) {
  const MergeWork& merge = lowered.launches[index].merge;
  return {image.columns,
          image.tensors,
          image.merge_steps[index],
          static_cast<std::int32_t>(merge.steps.size()),
          merge.rows,
          event_places(image, lowered, index)};
}

}  // namespace espalier::kernels
