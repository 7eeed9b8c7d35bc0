// Virtual clocks and queues of the flow classes.
#include "sim/flow_state.h"

#include <algorithm>

namespace espalier::sim {
namespace {

/// Places for remembered rates; a power of two, 40 KiB in all.
constexpr int kPlaceBits = 9;
/// Odd, its bits spread: 2^64 / golden ratio.
constexpr std::uint64_t kSpread = 0x9e3779b97f4a7c15ULL;

}  // namespace

FlowState::FlowState(const std::vector<FlowClass>& classes, const costmodel::DeviceSpec& device)
    : classes_(classes), device_(device), states_(classes.size()), known_(std::size_t{1} << kPlaceBits) {}

void FlowState::enter(std::int32_t id, std::int32_t cohort, std::int32_t count, double bytes) {
  State& state = states_[static_cast<std::size_t>(id)];
  if (state.position < 0) {
    state.position = static_cast<std::int32_t>(active_.size());
    ActiveFlow fresh;
    fresh.key = static_cast<std::uint64_t>(static_cast<std::uint32_t>(id)) << 32;
    fresh.times = &state.times;
    active_.push_back(fresh);
  }
  ActiveFlow& flow = active_[static_cast<std::size_t>(state.position)];
  flow.count += count;
  flow.key += static_cast<std::uint32_t>(count);
  state.queue.push({flow.clock + bytes, static_cast<std::uint32_t>(cohort), count});
  flow.through = state.queue.front().at;
  stale_ = true;
}

void FlowState::refresh_rates() {
  stale_ = false;
  const std::size_t flows = active_.size();
  if (flows == 0 || flows > kRemembered) return share();
  ActiveFlow* const first = active_.data();
  std::uint64_t key[kRemembered] = {};
  for (std::size_t i = 0; i < flows; ++i) key[i] = first[i].key;
  const std::uint64_t mixed = key[0] * kSpread ^ key[1] * (kSpread * 3) ^ key[2] * (kSpread * 5);
  Known& known = known_[static_cast<std::size_t>(mixed >> (64 - kPlaceBits))];
  std::uint64_t unlike = 0;
  for (std::size_t i = 0; i < kRemembered; ++i) unlike |= known.key[i] ^ key[i];
  if (unlike != 0) {
    share();
    std::copy(std::begin(key), std::end(key), known.key.begin());
    for (std::size_t i = 0; i < flows; ++i) known.rates[i] = first[i].rate;
    return;
  }
  for (std::size_t i = 0; i < flows; ++i) first[i].rate = known.rates[i];
}

void FlowState::share() {
  flows_.clear();
  for (const ActiveFlow& flow : active_) {
    flows_.push_back(classes_[static_cast<std::size_t>(flow.id())]);
    flows_.back().count = flow.count;
  }
  share_bandwidth(flows_, device_, rates_);
  for (std::size_t i = 0; i < active_.size(); ++i) active_[i].rate = rates_[i];
}

bool FlowState::take(std::size_t position, double slack_bytes, std::vector<std::int32_t>& through) {
  ActiveFlow& flow = active_[position];
  EventQueue& queue = states_[static_cast<std::size_t>(flow.id())].queue;
  stale_ = true;
  do {
    const Event& head = queue.front();
    flow.count -= head.count;
    flow.key -= static_cast<std::uint32_t>(head.count);
    through.push_back(static_cast<std::int32_t>(head.order));
    queue.pop();
    if (queue.empty()) {
      leave(position);
      return false;
    }
    flow.through = queue.front().at;
  } while (!(flow.through - flow.clock > slack_bytes));
  return true;
}

/// The class at `position` is empty. Order is kept, so that sums over classes don't depend on who left first.
void FlowState::leave(std::size_t position) {
  states_[static_cast<std::size_t>(active_[position].id())].position = -1;
  active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(position));
  for (std::size_t j = position; j < active_.size(); ++j) states_[static_cast<std::size_t>(active_[j].id())].position = static_cast<std::int32_t>(j);
}

}  // namespace espalier::sim
