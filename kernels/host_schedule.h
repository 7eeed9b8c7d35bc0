// Which item of a plan a thread of the host executor runs next: launches by dependency and stream, phases in order,
// persistent queues, merges as soon as their inputs are written.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::kernels {

/// One copy of a task, or one step.
struct HostItem {
  scheduler::LaunchId launch;
  scheduler::PhaseKind kind = scheduler::PhaseKind::tasks;
  std::int32_t index = 0;
  std::int32_t copy = 0;
};

/// Held for a tenth of a microsecond; to sleep and be woken would take ten times as long.
class SpinLock {
 public:
  void lock() {
    constexpr int kPatience = 1000;  // then whoever holds it isn't running
    for (int i = 0; taken_.test_and_set(std::memory_order_acquire);) {
      while (taken_.test(std::memory_order_relaxed)) {
        if (++i > kPatience) std::this_thread::yield();
      }
    }
  }
  void unlock() { taken_.clear(std::memory_order_release); }

 private:
  std::atomic_flag taken_;
};

/// The static part is made once a plan; reset() begins a run. All calls but the constructor are thread-safe.
class HostSchedule {
 public:
  explicit HostSchedule(const scheduler::Plan& plan);
  void reset();
  /// The next item for `thread`, which finished what it was given before; nothing when none is ready now.
  std::optional<HostItem> take(std::int32_t thread);
  void finish(const HostItem& item);
  bool done() const { return left_.load(std::memory_order_acquire) == 0; }
  std::int64_t items() const { return all_; }

 private:
  /// Phases that begin together, with their items in order of dispatch; a barrier lies between the groups of a launch.
  struct Group {
    std::vector<HostItem> items;                ///< hardware order
    std::vector<std::vector<HostItem>> queues;  ///< persistent workers
    std::int64_t all = 0;
  };
  struct Progress {
    std::size_t group = 0, next_item = 0, next_queue = 0;
    std::int64_t left = 0;  ///< of the group
    std::size_t waits = 0;  ///< launches before this one
    bool open = false;
  };

  void add_launch(scheduler::LaunchId launch);
  void link_arrivals();
  void open_ready(std::size_t launch);
  void finish_group_item(std::size_t launch);
  std::optional<HostItem> take_from(std::size_t launch, std::int32_t thread);

  const scheduler::Plan& plan_;
  std::vector<std::vector<Group>> groups_;           ///< by launch
  std::vector<std::vector<std::size_t>> followers_;  ///< launches that wait for a launch
  std::vector<std::size_t> waits_;
  std::vector<char> on_arrival_;        ///< by step
  std::vector<std::int32_t> arrivals_;  ///< by step: writers it waits for
  std::vector<std::vector<std::int32_t>> task_feeds_,
      step_feeds_;                       ///< merges on arrival that read what a task or a step writes
  std::vector<HostItem> arrival_items_;  ///< by step
  std::int64_t all_ = 0;

  SpinLock lock_;
  std::vector<Progress> progress_;
  std::vector<std::size_t> open_;      ///< launches, in order
  std::vector<std::int32_t> missing_;  ///< by step
  std::vector<HostItem> ready_;        ///< merges whose inputs have arrived
  struct Queue {
    std::size_t launch = 0, group = 0, queue = 0, next = 0;
    bool held = false;
  };
  std::vector<Queue> held_;  ///< by thread: the queue it works off
  std::atomic<std::int64_t> left_{0};
};

}  // namespace espalier::kernels
