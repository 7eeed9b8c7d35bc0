// Virtual clocks and heaps of the flow classes.
#include "sim/flow_state.h"

#include <algorithm>

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

void FlowState::refresh_rates() {
  stale_ = false;
  const std::size_t flows = ids_.size();
  if (flows == 0 || flows > kRemembered) return share_bandwidth(flows_, device_, rates_);
  std::array<std::uint64_t, kRemembered> key{};
  std::uint32_t place = 0;
  for (std::size_t i = 0; i < flows; ++i) {
    const auto id = static_cast<std::uint32_t>(ids_[i]), count = static_cast<std::uint32_t>(static_cast<std::int32_t>(flows_[i].count));
    key[i] = std::uint64_t{id} << 32 | count;
    place = (place * 31 + id) * 251 + count;
  }
  Known& known = known_[place % kPlaces];
  bool same = true;
  for (std::size_t i = 0; i < kRemembered; ++i) same &= known.key[i] == key[i];
  if (!same) {
    share_bandwidth(flows_, device_, rates_);
    known.key = key;
    std::copy(rates_.begin(), rates_.end(), known.rates.begin());
    return;
  }
  rates_.resize(flows);
  for (std::size_t i = 0; i < flows; ++i) rates_[i] = known.rates[i];
}

void FlowState::pop(double slack_us, std::vector<std::int32_t>& through) {
  // A class that was entered since the rates were made has none yet, and nobody in it can be through.
  for (std::size_t i = 0; i < rates_.size();) {
    State& state = states_[static_cast<std::size_t>(ids_[i])];
    const double slack_bytes = rates_[i].bytes_per_us * slack_us;
    while (!state.heap.empty() && !(state.heap.front().through - state.clock > slack_bytes)) {
      const Entry head = state.heap.front();
      std::pop_heap(state.heap.begin(), state.heap.end());
      state.heap.pop_back();
      flows_[i].count -= head.count;
      stale_ = true;
      through.push_back(head.cohort);
    }
    state.heap.empty() ? leave(i) : static_cast<void>(++i);
  }
}

/// The class at `position` is empty. Order is kept, so that sums over classes don't depend on who left first.
void FlowState::leave(std::size_t position) {
  states_[static_cast<std::size_t>(ids_[position])].position = -1;
  const auto at = static_cast<std::ptrdiff_t>(position);
  flows_.erase(flows_.begin() + at);
  ids_.erase(ids_.begin() + at);
  rates_.erase(rates_.begin() + at);
  for (std::size_t j = position; j < ids_.size(); ++j) states_[static_cast<std::size_t>(ids_[j])].position = static_cast<std::int32_t>(j);
}

}  // namespace espalier::sim
