// Puts the lanes' accesses of a warp together into the instructions that hardware would issue, and counts their cost.
//
// Lanes run one after another here. Two accesses belong to one instruction when they come from the same place in the
// code and are each lane's n-th visit to it; so divergence, or a lane that runs ahead, doesn't tear instructions apart.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <map>

#include "kernels/emulator/counters.h"

namespace espalier::kernels::emulator {

inline constexpr int kLanes = 32;

/// Wavefronts of one shared-memory instruction, by lane: 16-byte accesses are served a quarter warp at a time, 8-byte
/// ones a half. Lanes with `bytes` 0 take no part.
struct SharedAccesses {
  std::array<std::uint32_t, kLanes> at{};
  std::array<std::uint8_t, kLanes> bytes{};
};
void count_shared(const SharedAccesses& accesses, SharedTraffic& traffic);

class WarpAccesses {
 public:
  void global(const void* site, int lane, std::uintptr_t address, std::uint32_t bytes, GlobalTraffic& traffic);
  void shared(const void* site, int lane, std::uint32_t at, std::uint32_t bytes, SharedTraffic& traffic);
  /// Counts what is left, when the warp has ended.
  void finish();

 private:
  struct Group {
    int arrived = 0;
    GlobalTraffic* global = nullptr;
    SharedTraffic* shared = nullptr;
    std::array<std::uintptr_t, kLanes> address{};
    std::array<std::uint8_t, kLanes> bytes{};
  };
  struct Site {
    std::array<std::uint32_t, kLanes> visits{};
    std::uint32_t first = 0;  ///< visit of groups.front()
    std::deque<Group> groups;
  };
  void add(const void* site, int lane, std::uintptr_t address, std::uint32_t bytes, const Group& empty);
  static void count(const Group& group);

  std::map<const void*, Site> sites_;
};

}  // namespace espalier::kernels::emulator
