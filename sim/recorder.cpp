// Lanes, spans and counters of a simulated run.
#include "sim/recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <tuple>

#include "core/error.h"

namespace espalier::sim {
namespace {

enum Series : std::size_t { kHbm, kL2, kResident };

}  // namespace

Recorder::Recorder(double sms, std::int64_t max_spans)
    : sms_(static_cast<std::size_t>(sms)), max_spans_(max_spans), lane_of_(sms_.size()) {
  ESPALIER_CHECK(!sms_.empty());
  by_load_.resize(1);
  by_load_[0].resize(sms_.size());
  std::iota(by_load_[0].begin(), by_load_[0].end(), 0);  // ascending: already a min-heap
  timeline_.lanes = {"launches"};
  timeline_.counters = {{"HBM", "GB/s", {}, {}}, {"L2", "GB/s", {}, {}}, {"resident CTAs", "CTAs", {}, {}}};
}

std::int32_t Recorder::take_slot(std::int32_t index) {
  Sm& sm = sms_[static_cast<std::size_t>(index)];
  const auto free = std::find(sm.taken.begin(), sm.taken.end(), false);
  const auto slot = static_cast<std::size_t>(free - sm.taken.begin());
  auto& lanes = lane_of_[static_cast<std::size_t>(index)];
  if (free == sm.taken.end()) {
    sm.taken.push_back(false);
    lane_slots_.emplace_back(index, static_cast<std::int32_t>(slot));
    lanes.push_back(static_cast<std::int32_t>(lane_slots_.size()));
    timeline_.lanes.push_back(fmt::format("SM {} slot {}", index, slot));
  }
  sm.taken[slot] = true;
  ++sm.ctas;
  const auto load = static_cast<std::size_t>(sm.ctas);
  if (by_load_.size() <= load) by_load_.resize(load + 1);
  by_load_[load].push_back(index);
  std::push_heap(by_load_[load].begin(), by_load_[load].end(), std::greater<>());
  return lanes[slot];
}

void Recorder::take(std::int64_t count, std::vector<std::int32_t>& lanes) {
  for (std::size_t load = 0; count > 0;) {
    if (load >= by_load_.size() || by_load_[load].empty()) {
      ++load;
      ESPALIER_CHECK(load <= by_load_.size());
      continue;
    }
    std::pop_heap(by_load_[load].begin(), by_load_[load].end(), std::greater<>());
    const std::int32_t index = by_load_[load].back();
    by_load_[load].pop_back();
    if (static_cast<std::size_t>(sms_[static_cast<std::size_t>(index)].ctas) != load) continue;  // stale
    lanes.push_back(take_slot(index));
    --count;
  }
}

void Recorder::take_worker(std::int32_t worker, std::vector<std::int32_t>& lanes) {
  lanes.push_back(take_slot(worker % static_cast<std::int32_t>(sms_.size())));
}

void Recorder::release(const std::vector<std::int32_t>& lanes) {
  for (const std::int32_t lane : lanes) {
    const auto [index, slot] = lane_slots_[static_cast<std::size_t>(lane - 1)];
    Sm& sm = sms_[static_cast<std::size_t>(index)];
    sm.taken[static_cast<std::size_t>(slot)] = false;
    --sm.ctas;
    auto& heap = by_load_[static_cast<std::size_t>(sm.ctas)];
    heap.push_back(index);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  }
}

void Recorder::cta(scheduler::Span span, std::int32_t lane) {
  if (static_cast<std::int64_t>(timeline_.spans.size()) >= max_spans_) {
    ++left_out_;
    return;
  }
  span.lane = lane;
  timeline_.spans.push_back(span);
}

void Recorder::gap(scheduler::SpanKind kind, scheduler::LaunchId launch, double begin_us, double end_us) {
  cta({0, kind, launch, -1, 0, begin_us, end_us}, 0);
}

void Recorder::put(std::size_t series, double now_us, double value) {
  scheduler::CounterSeries& out = timeline_.counters[series];
  if (!out.value.empty() && out.value.back() == value) return;
  // Of too many samples every other one stays, so that the series goes on to the end.
  if (static_cast<std::int64_t>(out.value.size()) >= max_spans_ && out.value.size() > 1) {
    const std::size_t kept = (out.value.size() + 1) / 2;
    for (std::size_t i = 1; i < kept; ++i) {
      out.time_us[i] = out.time_us[2 * i];
      out.value[i] = out.value[2 * i];
    }
    out.time_us.resize(kept);
    out.value.resize(kept);
  }
  if (!out.time_us.empty() && out.time_us.back() == now_us) {
    out.value.back() = value;
    return;
  }
  out.time_us.push_back(now_us);
  out.value.push_back(value);
}

void Recorder::sample(double now_us, std::int64_t resident, const FlowState& flows) {
  double hbm = 0, l2 = 0;
  for (const Flow* const flow : flows.active()) {
    const FlowClass& kind = flows.classes()[static_cast<std::size_t>(flow->id())];
    const double rate = flow->count * flow->rate.bytes_per_us * 1e-3;  // bytes/us -> GB/s
    hbm += rate * kind.hbm_fraction;
    l2 += rate * kind.l2_fraction;
  }
  put(kHbm, now_us, hbm);
  put(kL2, now_us, l2);
  put(kResident, now_us, static_cast<double>(resident));
}

scheduler::Timeline Recorder::finish(double makespan_us) && {
  for (std::size_t series : {kHbm, kL2, kResident}) put(series, makespan_us, 0);
  if (left_out_ > 0) {
    timeline_.counters.push_back({"spans left out", "spans", {makespan_us}, {static_cast<double>(left_out_)}});
  }
  std::stable_sort(timeline_.spans.begin(), timeline_.spans.end(), [](const auto& a, const auto& b) {
    return std::tie(a.begin_us, a.lane) < std::tie(b.begin_us, b.lane);
  });
  return std::move(timeline_);
}

}  // namespace espalier::sim
