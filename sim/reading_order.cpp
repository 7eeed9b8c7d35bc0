#include "sim/reading_order.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <queue>
#include <tuple>
#include <utility>

namespace espalier::sim {
namespace {

using scheduler::LaunchId;
using scheduler::Plan;
using scheduler::Task;
using scheduler::TaskId;
using scheduler::TaskKind;

/// A CTA takes 1 over those resident of an SM; sums of such shares are rounded.
constexpr double kRounding = 1e-6;

bool reads_kv(const Task& task) {
  return task.kind == TaskKind::attend || task.kind == TaskKind::scores || task.kind == TaskKind::values;
}

double task_tokens(const Plan& plan, const Task& task) {
  std::int64_t tokens = 0;
  for (std::int32_t s = task.segments.begin; s < task.segments.end; ++s) {
    tokens += segment_tokens(plan, plan.segments[static_cast<std::size_t>(s)]);
  }
  return static_cast<double>(tokens);
}

/// Room on SMs, by when it gets free.
class Room {
 public:
  explicit Room(double sms) { free_.push({0, sms}); }

  /// `copies` CTAs of `tokens` each, that take `share` of an SM, not before `open`.
  Turn take(TaskId task, double copies, double share, double tokens, double open) {
    Turn turn{task, copies > 0 ? std::numeric_limits<double>::infinity() : open, open};
    while (copies > 0) {
      Free room = free_.top();
      free_.pop();
      const double at = std::max(room.at, open);
      while (!free_.empty() && (free_.top().at <= at || room.sms < share * (1 - kRounding))) {
        room.at = free_.top().at;
        room.sms += free_.top().sms;
        free_.pop();
      }
      const double begin = std::max(room.at, open);
      const double some = std::min(copies, std::max(1.0, std::floor(room.sms / share + kRounding)));
      copies -= some;
      room.sms -= some * share;
      free_.push({begin + tokens, some * share});
      if (room.sms > kRounding) free_.push(room);
      turn.begin = std::min(turn.begin, begin);
      turn.end = begin + tokens;
    }
    return turn;
  }

 private:
  struct Free {
    double at, sms;
    friend bool operator<(const Free& a, const Free& b) { return a.at > b.at; }  // the earliest on top
  };
  std::priority_queue<Free> free_;
};

class ReadingOrder {
 public:
  ReadingOrder(const Plan& plan, const costmodel::DeviceSpec& device)
      : plan_(plan), device_(device), room_(device.sms), listed_by_(plan.tasks.size()) {
    turns_.reserve(plan.tasks.size());
  }

  std::vector<Turn> run() && {
    // Workers of queues hold their slots from the beginning to the end: with queues, one launch after the other.
    const bool queued = std::any_of(plan_.launches.begin(), plan_.launches.end(),
                                    [](const scheduler::Launch& l) { return l.workers > 0; });
    if (queued) {
      run_in_turn();
    } else {
      run_side_by_side();
    }
    const auto earlier = [](const Turn& a, const Turn& b) { return a.begin < b.begin; };
    if (!std::is_sorted(turns_.begin(), turns_.end(), earlier)) std::stable_sort(turns_.begin(), turns_.end(), earlier);
    return std::move(turns_);
  }

 private:
  void run_in_turn() {
    double base = 0;
    for (const LaunchId l : core::ids<LaunchId>(plan_.launches.size())) {
      const scheduler::Launch& launch = plan_.launches[l];
      if (launch.workers > 0) {
        base = append_queues(l, base);
        continue;
      }
      for (Part part{base, launch.phases.begin}; part.next < launch.phases.end; base = part.end) {
        part = append_grid(l, part.next, part.end);
      }
    }
  }

  /// A launch may begin when those that it waits for, on its stream and by dependency, are gone. Who may begin first is
  /// dispatched first.
  void run_side_by_side() {
    using Opening = std::tuple<double, LaunchId, std::int32_t>;  // when, and from which phase on
    std::priority_queue<Opening, std::vector<Opening>, std::greater<>> ready;
    core::Column<LaunchId, double> open(plan_.launches.size(), 0.0);
    core::Column<LaunchId, std::int32_t> waits(plan_.launches.size(), 0);
    core::Column<LaunchId, std::vector<LaunchId>> followers(plan_.launches.size());
    std::map<std::int32_t, LaunchId> last_of_stream;
    for (const LaunchId l : core::ids<LaunchId>(plan_.launches.size())) {
      const scheduler::Launch& launch = plan_.launches[l];
      const auto follow = [&](LaunchId before) {
        followers[before].push_back(l);
        ++waits[l];
      };
      for (std::int32_t d = launch.dependencies.begin; d < launch.dependencies.end; ++d) {
        follow(plan_.dependencies[static_cast<std::size_t>(d)]);
      }
      const auto [last, first_there] = last_of_stream.try_emplace(launch.stream, l);
      if (!first_there) follow(std::exchange(last->second, l));
      if (waits[l] == 0) ready.push({0, l, launch.phases.begin});
    }
    while (!ready.empty()) {
      const auto [at, l, phase] = ready.top();
      ready.pop();
      const Part part = append_grid(l, phase, at);
      if (part.next < plan_.launches[l].phases.end) {
        ready.push({part.end, l, part.next});
        continue;
      }
      for (const LaunchId next : followers[l]) {
        open[next] = std::max(open[next], part.end);
        if (--waits[next] == 0) ready.push({open[next], next, plan_.launches[next].phases.begin});
      }
    }
  }

  /// Phases of a launch up to a grid barrier: when the last CTA is gone, and the phase behind.
  struct Part {
    double end;
    std::int32_t next;
  };

  /// Hardware order, from phase `first` on.
  Part append_grid(LaunchId l, std::int32_t first, double open) {
    const scheduler::Launch& launch = plan_.launches[l];
    double end = open;
    std::int32_t p = first;
    for (; p < launch.phases.end; ++p) {
      const scheduler::Phase& phase = plan_.phases[static_cast<std::size_t>(p)];
      if (p > first && phase.start == scheduler::PhaseStart::barrier) break;
      if (phase.kind != scheduler::PhaseKind::tasks) continue;
      const double share = 1.0 / std::max(1, costmodel::ctas_per_sm(plan_.kernels[phase.kernel], plan_.heads, device_));
      for (TaskId t(phase.range.begin); t.value < phase.range.end; ++t.value) {
        const Task& task = plan_.tasks[t];
        const Turn turn = room_.take(t, task.copies, share, task_tokens(plan_, task), open);
        if (reads_kv(task)) turns_.push_back(turn);
        end = std::max(end, turn.end);
      }
    }
    return {end, p};
  }

  /// Queues: a task begins when its worker has read the tokens of those before.
  double append_queues(LaunchId l, double open) {
    const scheduler::Launch& launch = plan_.launches[l];
    std::vector<Turn> items;
    double end = open;
    for (std::int32_t w = 0; w < launch.workers; ++w) {
      const scheduler::Interval queue = plan_.queues[static_cast<std::size_t>(launch.queue_begin + w)];
      double at = open;
      for (std::int32_t i = queue.begin; i < queue.end; ++i) {
        const TaskId t = plan_.queue_items[static_cast<std::size_t>(i)].task;
        const double tokens = task_tokens(plan_, plan_.tasks[t]);
        if (reads_kv(plan_.tasks[t])) items.push_back({t, at, at + tokens});
        at += tokens;
      }
      end = std::max(end, at);
    }
    std::stable_sort(items.begin(), items.end(), [](const Turn& a, const Turn& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.task < b.task;
    });
    for (const Turn& turn : items) {
      if (listed_by_[turn.task] == l) continue;
      listed_by_[turn.task] = l;
      turns_.push_back(turn);
    }
    return end;
  }

  const Plan& plan_;
  const costmodel::DeviceSpec& device_;
  Room room_;
  core::Column<TaskId, LaunchId> listed_by_;  ///< last launch that each task was appended for
  std::vector<Turn> turns_;
};

}  // namespace

std::vector<Turn> reading_order(const Plan& plan, const costmodel::DeviceSpec& device) {
  return ReadingOrder(plan, device).run();
}

}  // namespace espalier::sim
