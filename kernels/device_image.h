// A lowered plan and its tensors in the memory of a device: what every launch is told.
//
// Places come from a function of the caller's, so that a GPU and the emulator are filled alike.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/units.h"
#include "kernels/device_plan.h"
#include "kernels/emulator/counters.h"
#include "kernels/plan_bounds.h"

namespace espalier::kernels {

/// A piece of device memory: copied from the host, zeroed, or left as it is.
struct DevicePiece {
  const char* name = "";
  emulator::MemoryKind kind = emulator::MemoryKind::other;
  std::size_t bytes = 0;       ///< to set aside
  const void* from = nullptr;  ///< null: nothing to copy
  bool zeroed = false;
  std::size_t given = 0;  ///< bytes that `from` holds: all, where there is no room to spare
};
/// What allocators round to.
inline constexpr std::int64_t kPieceAlignment = 256;
inline std::int64_t placed_bytes(const DevicePiece& piece) {
  return core::round_up(static_cast<std::int64_t>(piece.bytes), kPieceAlignment);
}
using DevicePlacer = std::function<void*(const DevicePiece&)>;

/// Rows of K or V as this project lays caches out: [page][kv head][token in page][column].
PagedRows heads_first(const void* base, const traces::HeadConfig& heads, std::int32_t page_size, std::int64_t columns);

/// Host memory of the tensors that a run reads; null: the device's memory is filled by the caller, in the place that
/// DeviceImage names.
struct DeviceInputs {
  const void* queries = nullptr;
  const void* keys = nullptr;
  const void* values = nullptr;
};

/// Places of event records in one array: of queue items, of items, of arrival counters, then of each launch's merging
/// blocks.
struct EventLayout {
  std::int32_t queue_items = 0, items = 0, arrivals = 0;
  std::vector<std::int32_t> merges;  ///< by launch
  std::int32_t count = 0;
};
EventLayout event_layout(const scheduler::Plan& plan, const DevicePlan& lowered);

struct DeviceImage {
  PlanColumns columns{};
  Tensors tensors{};
  const scheduler::Interval* task_arrivals = nullptr;
  const scheduler::QueueItem *items = nullptr, *queue_items = nullptr;
  const Mates* mates = nullptr;  ///< as items
  const scheduler::Interval* queues = nullptr;
  std::uint32_t* counters = nullptr;
  std::int32_t arrival_counters = 0;
  std::vector<const StepRows*> merge_steps;  ///< by launch; null: it merges nothing
  EventRecord* events = nullptr;             ///< null: nothing is recorded
  EventLayout event_places;
};

/// The plan, its counters and its workspace in room for `room` rows; of the tensors only what the heads say. A padded
/// plan (plan_bounds.h) asks for pieces of equal sizes in equal order whatever the plan was.
DeviceImage place_plan(const scheduler::Plan& plan, const DevicePlan& lowered, const ColumnSizes& room,
                       const DevicePlacer& place);

/// The plan as it is, and tensors for it.
DeviceImage place_on_device(const scheduler::Plan& plan, const DevicePlan& lowered, const DeviceInputs& inputs,
                            traces::Dtype row_dtype, const DevicePlacer& place);

/// Bytes that place_on_device() asks for in all: a pure function, so a caller can refuse before anything is allocated.
std::int64_t device_bytes(const scheduler::Plan& plan, const DevicePlan& lowered, traces::Dtype row_dtype);

/// Makes launches record events from now on: into zeroed memory of this size.
void place_events(const scheduler::Plan& plan, const DevicePlan& lowered, DeviceImage& image,
                  const DevicePlacer& place);

/// Parameters of launch `index` of the lowered plan.
AttendParams attend_params(const DeviceImage& image, const DevicePlan& lowered, std::size_t index);
ReduceParams reduce_params(const DeviceImage& image, const DevicePlan& lowered, std::size_t index);

}  // namespace espalier::kernels
