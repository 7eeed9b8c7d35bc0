// Ways to emulate a kernel that must not matter: who runs first, and when bytes that are copied land.
#pragma once

#include <vector>

#include "kernels/emulator/machine.h"

namespace espalier::kernels {

/// Every order with the latest and the earliest moment of copies.
inline const std::vector<emulator::EmulatorOptions>& ways() {
  using emulator::CopyMoment;
  using emulator::Order;
  static const std::vector<emulator::EmulatorOptions> all = [] {
    std::vector<emulator::EmulatorOptions> list;
    for (const Order order : {Order::forward, Order::backward, Order::shuffled}) {
      for (const CopyMoment copies : {CopyMoment::latest, CopyMoment::earliest}) {
        list.push_back({.order = order, .copies = copies});
      }
    }
    return list;
  }();
  return all;
}

}  // namespace espalier::kernels
