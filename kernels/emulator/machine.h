// Runs CUDA kernels on the host: blocks of threads as fibers, with checks on everything they do.
//
// A kernel is a C++ function that calls the operations of kernels/cuda/device.h; compiled for the host, those come
// here. Execution is sequential and deterministic for a seed. What it proves: bounds, alignment, initialisation, races
// within a block, convergence of warp operations, right results in every order tried. What it can't show: time, weak
// memory order, compiler bugs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "kernels/emulator/counters.h"
#include "kernels/emulator/global_memory.h"

namespace espalier::kernels::emulator {

/// Which of the threads that can run goes on.
enum class Order : std::uint8_t { forward, backward, shuffled };
/// When an asynchronous copy moves its bytes: at the wait that must see them, or as soon as it is issued. Code that
/// reads too early, or reuses its source too early, goes wrong in one of the two.
enum class CopyMoment : std::uint8_t { latest, earliest };

struct EmulatorOptions {
  Order order = Order::forward;
  std::uint64_t seed = 1;  ///< of Order::shuffled
  CopyMoment copies = CopyMoment::latest;
  int resident_blocks = 2;     ///< blocks that run at once (cooperative launches: all)
  bool count_accesses = true;  ///< requests, sectors, lines, wavefronts; bytes and operations are always counted
};

struct LaunchShape {
  const char* kernel = "";
  std::uint32_t blocks = 1;
  std::uint32_t threads = 32;  ///< a multiple of 32, at most 1024
  std::uint32_t shared_bytes = 0;
  bool cooperative = false;  ///< blocks may wait for each other
  std::uint32_t cluster =
      1;  ///< blocks that run at once and reach each other's shared memory; a divisor of `blocks`, at most 16
};

inline constexpr std::uint32_t kMostClusterBlocks = 16;

class Scheduler;

class Machine {
 public:
  Machine(GlobalMemory& memory, const EmulatorOptions& options);
  ~Machine();
  /// Runs `body` once a thread. Throws Error (check failed) that names kernel, block and thread at the first thing that
  /// is wrong.
  void launch(const LaunchShape& shape, const std::function<void()>& body);
  const Counters& counters() const { return counters_; }

 private:
  friend class Scheduler;
  GlobalMemory& memory_;
  EmulatorOptions options_;
  Counters counters_;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace espalier::kernels::emulator
