// Spans from records: who ran where, then lanes for blocks that shared an SM.
#include "kernels/event_timeline.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

#include "core/error.h"

namespace espalier::kernels {
namespace {

using scheduler::Plan;
using scheduler::Span;
using scheduler::SpanKind;
using scheduler::Timeline;

/// A block of a launch: which, where, from when to when.
struct BlockLife {
  std::size_t launch = 0;
  std::uint32_t block = 0, sm = 0;
  std::uint64_t begin = std::numeric_limits<std::uint64_t>::max(), end = 0;
  std::int32_t lane = 0;
  std::uint64_t from = 0;  ///< when the block before it in the lane was through
};

Span span_of(SpanKind kind, std::int32_t item, std::int32_t copy = 0) {
  Span span;
  span.kind = kind;
  span.item = item;
  span.copy = copy;
  return span;
}

class EventTimeline {
 public:
  EventTimeline(const Plan& plan, const DevicePlan& lowered, std::span<const EventRecord> records)
      : plan_(plan), lowered_(lowered), layout_(event_layout(plan, lowered)), records_(records) {
    ESPALIER_CHECK(records.size() == static_cast<std::size_t>(layout_.count));
  }

  Timeline run() {
    for (std::size_t l = 0; l < lowered_.launches.size(); ++l) {
      const DeviceLaunch& launch = lowered_.launches[l];
      if (launch.attend != nullptr) add_tasks(l);
      if (launch.merge.rows > 0) add_merges(l);
    }
    add_arrived_steps();
    place_blocks();
    finish_spans();
    return std::move(timeline_);
  }

 private:
  void add(std::size_t launch, const EventRecord& record, Span span) {
    if (record.block == 0) return;  // never ran
    ESPALIER_CHECK(record.end_ns >= record.begin_ns);
    span.launch = lowered_.launches[launch].plan_launch;
    const auto [at, is_new] = block_at_.emplace(std::pair(launch, record.block), blocks_.size());
    if (is_new) blocks_.push_back({.launch = launch, .block = record.block, .sm = record.sm});
    BlockLife& life = blocks_[at->second];
    life.begin = std::min(life.begin, record.begin_ns);
    life.end = std::max(life.end, record.end_ns);
    spans_.push_back({span, at->second, &record});
  }

  void add_tasks(std::size_t l) {
    const DeviceLaunch& launch = lowered_.launches[l];
    const auto add_item = [&](std::int32_t place, const scheduler::QueueItem& item) {
      add(l, record(place), span_of(SpanKind::task, item.task.value, item.copy));
    };
    if (launch.queue_begin < 0) {
      for (std::int32_t i = launch.items.begin; i < launch.items.end; ++i) {
        add_item(layout_.items + i, lowered_.items[static_cast<std::size_t>(i)]);
      }
      return;
    }
    for (std::int32_t w = 0; w < launch.blocks; ++w) {
      const scheduler::Interval queue = plan_.queues[static_cast<std::size_t>(launch.queue_begin + w)];
      for (std::int32_t i = queue.begin; i < queue.end; ++i) {
        add_item(layout_.queue_items + i, plan_.queue_items[static_cast<std::size_t>(i)]);
      }
    }
  }

  /// Blocks merge several rows; a block's span names a step where all its rows are that step's.
  void add_merges(std::size_t l) {
    const DeviceLaunch& launch = lowered_.launches[l];
    const std::int32_t warps = static_cast<std::int32_t>(launch.attend != nullptr ? launch.attend->computing_threads()
                                                                                  : launch.reduce->threads) /
                               32;
    const std::int32_t stride = launch.attend != nullptr ? launch.blocks * warps : launch.merge.rows;
    for (std::int32_t block = 0; block < launch.blocks; ++block) {
      Span span = span_of(SpanKind::step, -1);
      for (std::int32_t first = block * warps; first < launch.merge.rows; first += stride) {
        for (std::int32_t row = first; row < std::min(first + warps, launch.merge.rows); ++row) {
          const std::int32_t step = step_of(launch.merge, row);
          span.item = row == block * warps || span.item == step ? step : -1;
        }
      }
      add(l, record(layout_.merges[l] + block), span);
    }
  }
  static std::int32_t step_of(const MergeWork& merge, std::int32_t row) {
    const auto after = std::upper_bound(merge.steps.begin(), merge.steps.end(), row,
                                        [](std::int32_t r, const StepRows& s) { return r < s.first_row; });
    return std::prev(after)->step;
  }

  /// Steps that ran on arrival, a record a unit of heads, run by blocks of the launch that fed them last.
  void add_arrived_steps() {
    std::map<std::int32_t, const Arrival*> by_step;
    for (const Arrival& arrival : lowered_.arrivals) by_step.emplace(arrival.step, &arrival);
    for (const auto& [step, arrival] : by_step) {
      const std::int32_t units = plan_.steps[scheduler::StepId(step)].head_count / arrival->unit_heads;
      for (std::int32_t unit = 0; unit < units; ++unit) {
        const EventRecord& r = record(layout_.arrivals + arrival->first_counter + unit);
        if (const std::size_t launch = launch_of(r); launch < lowered_.launches.size()) {
          add(launch, r, span_of(SpanKind::step, step, unit));
        }
      }
    }
  }
  /// The launch whose block of this number was at work then; launches that count arrivals follow each other.
  std::size_t launch_of(const EventRecord& r) const {
    std::size_t found = lowered_.launches.size();
    std::uint64_t latest = 0;
    for (const auto& [key, index] : block_at_) {
      if (key.second != r.block || blocks_[index].begin > r.begin_ns || blocks_[index].begin < latest) continue;
      latest = blocks_[index].begin;
      found = key.first;
    }
    return found;
  }

  /// A lane a block that an SM holds at a time.
  void place_blocks() {
    std::vector<std::size_t> order(blocks_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      return std::tuple(blocks_[a].begin, blocks_[a].launch, blocks_[a].block) <
             std::tuple(blocks_[b].begin, blocks_[b].launch, blocks_[b].block);
    });
    const std::uint64_t slack = tick_ns();
    std::map<std::pair<std::uint32_t, std::int32_t>, std::uint64_t> free_from;  // by SM and slot
    std::map<std::pair<std::uint32_t, std::int32_t>, std::vector<std::size_t>> in_slot;
    for (const std::size_t i : order) {
      std::int32_t slot = 0;
      while (free_from.contains({blocks_[i].sm, slot}) && free_from[{blocks_[i].sm, slot}] > blocks_[i].begin + slack) {
        ++slot;
      }
      blocks_[i].from = free_from[{blocks_[i].sm, slot}];
      free_from[{blocks_[i].sm, slot}] = blocks_[i].end;
      in_slot[{blocks_[i].sm, slot}].push_back(i);
    }
    for (const auto& [place, blocks] : in_slot) {
      for (const std::size_t i : blocks) blocks_[i].lane = static_cast<std::int32_t>(timeline_.lanes.size());
      timeline_.lanes.push_back(fmt::format("SM {} slot {}", place.first, place.second));
    }
  }

  /// Two SMs see a tick of the clock at moments that differ: a block may seem to begin a tick before the one that made
  /// room for it ended. A clock that tells every nanosecond apart needs no such patience.
  std::uint64_t tick_ns() const {
    std::vector<std::uint64_t> moments;
    for (const BlockLife& block : blocks_) moments.insert(moments.end(), {block.begin, block.end});
    std::sort(moments.begin(), moments.end());
    std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
    for (std::size_t i = 1; i < moments.size(); ++i) {
      if (moments[i] > moments[i - 1]) least = std::min(least, moments[i] - moments[i - 1]);
    }
    return least > 1 && least < std::numeric_limits<std::uint64_t>::max() ? least : 0;
  }

  void finish_spans() {
    std::uint64_t origin = std::numeric_limits<std::uint64_t>::max();
    for (const BlockLife& block : blocks_) origin = std::min(origin, block.begin);
    for (Raw& raw : spans_) {
      raw.span.lane = blocks_[raw.block].lane;
      const std::uint64_t begin = std::min(std::max(raw.record->begin_ns, blocks_[raw.block].from), raw.record->end_ns);
      raw.span.begin_us = static_cast<double>(begin - origin) * 1e-3;
      raw.span.end_us = static_cast<double>(raw.record->end_ns - origin) * 1e-3;
      timeline_.spans.push_back(raw.span);
    }
    std::stable_sort(timeline_.spans.begin(), timeline_.spans.end(), [](const Span& a, const Span& b) {
      return std::tuple(a.begin_us, a.lane) < std::tuple(b.begin_us, b.lane);
    });
  }

  const EventRecord& record(std::int32_t place) const { return records_[static_cast<std::size_t>(place)]; }

  struct Raw {
    Span span;
    std::size_t block;
    const EventRecord* record;
  };
  const Plan& plan_;
  const DevicePlan& lowered_;
  EventLayout layout_;
  std::span<const EventRecord> records_;
  std::map<std::pair<std::size_t, std::uint32_t>, std::size_t> block_at_;  ///< of blocks_, by launch and block
  std::vector<BlockLife> blocks_;
  std::vector<Raw> spans_;
  Timeline timeline_;
};

}  // namespace

Timeline event_timeline(const Plan& plan, const DevicePlan& lowered, std::span<const EventRecord> records,
                        const std::string& device) {
  Timeline timeline = EventTimeline(plan, lowered, records).run();
  timeline.device = device;
  timeline.plan_hash = plan.hash;
  return timeline;
}

}  // namespace espalier::kernels
