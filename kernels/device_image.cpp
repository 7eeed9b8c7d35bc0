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
  Placing(const Plan& plan, const DevicePlan& lowered, const DevicePlacer& place)
      : plan_(plan), lowered_(lowered), place_(place) {}

  DeviceImage run(const DeviceInputs& inputs, traces::Dtype row_dtype) {
    place_columns();
    place_lowered();
    place_tensors(inputs, row_dtype);
    return std::move(image_);
  }

 private:
  template <class T>
  const T* column(const char* name, const std::vector<T>& values) {
    return static_cast<const T*>(place_({name, MemoryKind::plan, values.size() * sizeof(T), values.data()}));
  }
  template <class Id>
  const std::int32_t* ids(const char* name, const std::vector<Id>& values) {
    static_assert(sizeof(Id) == sizeof(std::int32_t));
    return reinterpret_cast<const std::int32_t*>(column(name, values));
  }
  void* tensor(const char* name, MemoryKind kind, std::int64_t bytes, const void* from = nullptr) {
    return place_({name, kind, static_cast<std::size_t>(bytes), from});
  }

  void place_columns() {
    const traces::PageTable& pages = plan_.forest.pages;
    PlanColumns& c = image_.columns;
    c.segments = column("segments", plan_.segments);
    c.tasks = column("tasks", plan_.tasks.raw());
    c.query_rows = ids("query rows", plan_.query_rows);
    c.fold_slots = ids("folds", plan_.fold_slots);
    c.slots = column("slots", plan_.slots.raw());
    c.steps = column("steps", plan_.steps.raw());
    c.reduction_inputs = column("reduction inputs", plan_.reduction_inputs);
    c.node_tokens = column("node tokens", plan_.forest.tokens.raw());
    c.node_first_page = column("first pages", pages.first_page.raw());
    c.node_first_offset = column("first offsets", pages.first_offset.raw());
    c.page_ids = pages.page_ids.empty() ? nullptr : column("page ids", pages.page_ids);
    c.page_size = pages.page_size;
    image_.queue_items = column("queue items", plan_.queue_items);
    image_.queues = column("queues", plan_.queues);
  }

  void place_lowered() {
    PlanColumns& c = image_.columns;
    c.facts = column("task facts", lowered_.facts);
    c.arrivals = column("arrivals", lowered_.arrivals);
    c.step_arrivals = column("step arrivals", lowered_.step_arrivals);
    if (!lowered_.task_arrivals.empty()) image_.task_arrivals = column("task arrivals", lowered_.task_arrivals);
    image_.items = column("items", lowered_.items);
    if (!lowered_.mates.empty()) image_.mates = column("mates", lowered_.mates);
    const auto counter_bytes = static_cast<std::size_t>(workspace_size(plan_, lowered_).counter_bytes);
    image_.counters =
        static_cast<std::uint32_t*>(place_({"counters", MemoryKind::counters, counter_bytes, nullptr, true}));
    image_.arrival_counters = lowered_.counters;
    for (const DeviceLaunch& launch : lowered_.launches) {
      image_.merge_steps.push_back(launch.merge.rows > 0 ? column("merge steps", launch.merge.steps) : nullptr);
    }
  }

  PagedRows paged(void* base, std::int64_t columns) const {
    const std::int64_t row = columns * traces::dtype_bytes(plan_.heads.kv_dtype);
    const std::int64_t head = row * plan_.forest.pages.page_size;
    return {base, head * plan_.heads.kv_heads, row, head};
  }

  void place_tensors(const DeviceInputs& inputs, traces::Dtype row_dtype) {
    const traces::HeadConfig& heads = plan_.heads;
    const std::int64_t rows = core::checked_mul(static_cast<std::int64_t>(plan_.forest.request_count()), heads.q_heads);
    const std::int64_t kv = core::checked_mul(cache_rows(plan_), traces::dtype_bytes(heads.kv_dtype));
    Tensors& t = image_.tensors;
    t.queries =
        tensor("queries", MemoryKind::query, rows * heads.qk_dim * traces::dtype_bytes(heads.q_dtype), inputs.queries);
    t.keys = paged(tensor("keys", MemoryKind::kv, core::checked_mul(kv, heads.qk_dim), inputs.keys), heads.qk_dim);
    t.values = paged(
        heads.v_in_k ? nullptr : tensor("values", MemoryKind::kv, core::checked_mul(kv, heads.v_dim), inputs.values),
        heads.v_dim);
    t.workspace = tensor("workspace", MemoryKind::partials, plan_.workspace_bytes);
    t.rows = tensor("rows", MemoryKind::output, rows * heads.v_dim * traces::dtype_bytes(row_dtype));
    t.lse =
        static_cast<float*>(tensor("log-sum-exps", MemoryKind::lse, rows * static_cast<std::int64_t>(sizeof(float))));
    t.q_heads = heads.q_heads;
    t.group = heads.group();
    t.row_dtype = row_dtype;
    t.scale_log2 = static_cast<float>(heads.softmax_scale()) * kLog2E;
  }

  const Plan& plan_;
  const DevicePlan& lowered_;
  const DevicePlacer& place_;
  DeviceImage image_;
};

}  // namespace

DeviceImage place_on_device(const Plan& plan, const DevicePlan& lowered, const DeviceInputs& inputs,
                            traces::Dtype row_dtype, const DevicePlacer& place) {
  return Placing(plan, lowered, place).run(inputs, row_dtype);
}

std::int64_t device_bytes(const Plan& plan, const DevicePlan& lowered, traces::Dtype row_dtype) {
  constexpr std::int64_t kAlignment = 256;  // what allocators round to
  std::int64_t sum = 0;
  const DevicePlacer count = [&](const DevicePiece& piece) -> void* {
    sum += (static_cast<std::int64_t>(piece.bytes) + kAlignment - 1) / kAlignment * kAlignment;
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
