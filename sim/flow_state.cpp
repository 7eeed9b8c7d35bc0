// Rates of the flow classes.
#include "sim/flow_state.h"

namespace espalier::sim {

FlowState::FlowState(const std::vector<FlowClass>& classes, const costmodel::DeviceSpec& device, SmTime& sm_time)
    : classes_(classes), device_(device), sm_time_(sm_time), flows_(classes.size()),
      known_(std::size_t{1} << kPlaceBits) {
  constexpr std::uint64_t kSpread = 0x9e3779b97f4a7c15ULL;  // odd, its bits spread: 2^64 / golden ratio
  std::uint64_t spread = kSpread;
  for (std::size_t i = 0; i < flows_.size(); ++i) {
    flows_[i].key = std::uint64_t{i} << 32;
    flows_[i].spread = spread;
    spread = (spread ^ spread >> 32) * kSpread;
  }
}

/// Order is kept, so that sums over classes don't depend on who left first.
void FlowState::drop_empty() {
  emptied_ = false;
  std::erase_if(active_, [](Flow* flow) {
    flow->listed = flow->count > 0;
    return !flow->listed;
  });
}

double FlowState::shared_left() {
  share();
  double us = kNever;
  for (Flow* const flow : active_) {
    const double left = (flow->queue.next_at() - flow->clock) / flow->rate.bytes_per_us;
    if (left >= us) continue;
    us = left;
    next_ = flow;
  }
  return us;
}

void FlowState::remember(Known& known) {
  share();
  known.flows = active_.size();
  for (std::size_t i = 0; i < known.flows; ++i) {
    known.key[i] = active_[i]->key;
    known.rates[i] = active_[i]->rate;
    known.us_per_byte[i] = 1 / active_[i]->rate.bytes_per_us;
  }
}

void FlowState::share() {
  sharing_.clear();
  for (const Flow* const flow : active_) {
    sharing_.push_back(classes_[static_cast<std::size_t>(flow->id())]);
    sharing_.back().count = flow->count;
  }
  share_bandwidth(sharing_, device_, rates_);
  for (std::size_t i = 0; i < active_.size(); ++i) active_[i]->rate = rates_[i];
}

}  // namespace espalier::sim
