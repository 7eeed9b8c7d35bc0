// Virtual clocks and heaps of the flow classes.
#include "sim/flow_state.h"

#include <algorithm>
#include <limits>

#include "core/error.h"

namespace espalier::sim {
namespace {

/// Places for remembered rates; a power of two, 40 KiB in all.
constexpr std::size_t kPlaces = 512;

}  // namespace

FlowState::FlowState(const std::vector<FlowClass>& classes, const costmodel::DeviceSpec& device)
    : classes_(classes), device_(device), states_(classes.size()), known_(kPlaces) {}

void FlowState::enter(std::int32_t id, std::int32_t cohort, std::int32_t count, double bytes) {
  const auto c = static_cast<std::size_t>(id);
  State& state = states_[c];
  if (state.position < 0) {
    state.position = static_cast<std::int32_t>(flows_.size());
    state.clock = 0;
    flows_.push_back(classes_[c]);
    ids_.push_back(id);
  }
  flows_[static_cast<std::size_t>(state.position)].count += count;
  state.heap.push_back({state.clock + bytes, cohort, count});
  std::push_heap(state.heap.begin(), state.heap.end());
  stale_ = true;
}

double FlowState::next_us() {
  if (stale_) refresh_rates();
  double next = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    const State& state = states_[static_cast<std::size_t>(ids_[i])];
    next = std::min(next, (state.heap.front().through - state.clock) / rates_[i].bytes_per_us);
  }
  return std::max(0.0, next);
}

void FlowState::refresh_rates() {
  stale_ = false;
  if (flows_.empty() || flows_.size() > kRemembered) return share_bandwidth(flows_, device_, rates_);
  std::array<std::int32_t, 2 * kRemembered> key{};
  std::uint32_t place = 0;
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    key[2 * i] = ids_[i];
    key[2 * i + 1] = static_cast<std::int32_t>(flows_[i].count);
    place = (place * 31 + static_cast<std::uint32_t>(ids_[i])) * 251 + static_cast<std::uint32_t>(key[2 * i + 1]);
  }
  Known& known = known_[place % kPlaces];
  if (known.key != key) {
    share_bandwidth(flows_, device_, rates_);
    known.key = key;
    std::copy(rates_.begin(), rates_.end(), known.rates.begin());
    return;
  }
  rates_.assign(known.rates.begin(), known.rates.begin() + static_cast<std::ptrdiff_t>(flows_.size()));
}

void FlowState::advance(double us) {
  ESPALIER_CHECK(!stale_);
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    State& state = states_[static_cast<std::size_t>(ids_[i])];
    state.clock += rates_[i].bytes_per_us * us;
    state.times.us[static_cast<int>(rates_[i].bound)] += us;
  }
}

std::int32_t FlowState::pop(double slack_us) {
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    // A class that was entered since the rates were made has none yet, and nobody in it can be through.
    if (i >= rates_.size()) break;
    State& state = states_[static_cast<std::size_t>(ids_[i])];
    const Entry head = state.heap.front();
    if (head.through - state.clock > rates_[i].bytes_per_us * slack_us) continue;
    std::pop_heap(state.heap.begin(), state.heap.end());
    state.heap.pop_back();
    flows_[i].count -= head.count;
    stale_ = true;
    if (state.heap.empty()) {
      state.position = -1;
      // Order is kept, so that sums over classes don't depend on who left first.
      flows_.erase(flows_.begin() + static_cast<std::ptrdiff_t>(i));
      ids_.erase(ids_.begin() + static_cast<std::ptrdiff_t>(i));
      rates_.erase(rates_.begin() + static_cast<std::ptrdiff_t>(i));
      for (std::size_t j = i; j < ids_.size(); ++j) states_[static_cast<std::size_t>(ids_[j])].position = static_cast<std::int32_t>(j);
    }
    return head.cohort;
  }
  return -1;
}

}  // namespace espalier::sim
