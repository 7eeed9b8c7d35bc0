// Threads that take items from a HostSchedule, run them on HostTensors and note when.
#include "kernels/host_executor.h"

#include <fmt/core.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <fstream>
#include <thread>

#include "core/error.h"
#include "kernels/host_schedule.h"
#include "kernels/plan_access.h"

namespace espalier::kernels {
namespace {

using scheduler::Plan;
using scheduler::ReductionStep;
using scheduler::Segment;
using scheduler::StepId;
using scheduler::Task;
using scheduler::TaskId;
using Clock = std::chrono::steady_clock;

void check_runnable(const Plan& plan) {
  for (const Task& task : plan.tasks) {
    if (task.kind == scheduler::TaskKind::attend || task.kind == scheduler::TaskKind::padding) continue;
    throw core::bad_input("host backend", "attention tasks and merges",
                          fmt::format("a {} task: use --backend interpret", kind_name(task.kind)));
  }
  for (const ReductionStep& step : plan.steps) {
    if (step.op != scheduler::ReductionOp::log_sum_exp) {
      throw core::bad_input("host backend", "merges by log-sum-exp", "a sum");
    }
  }
}

/// What one thread computes with.
class Worker {
 public:
  Worker(const Plan& plan, const HostTensors& tensors, HostRowsMemory& memory)
      : plan_(plan), tensors_(tensors), memory_(memory) {}

  void run(const HostItem& item) {
    if (item.kind == scheduler::PhaseKind::tasks) {
      attend(plan_.tasks[TaskId(item.index)], item.copy);
    } else {
      merge(plan_.steps[StepId(item.index)]);
    }
  }

 private:
  void attend(const Task& task, std::int32_t copy) {
    const auto requests = slice("queries of a task", plan_.query_rows, task.queries);
    const std::int32_t first = task.head_begin + copy * task.head_count, heads = task.head_count;
    check_interval("heads of a task", first, std::int64_t{first} + heads, plan_.heads.q_heads);
    rows_.reset(static_cast<std::int64_t>(requests.size()) * heads, tensors_.qk_columns(), tensors_.v_columns());
    float* query = rows_.query.data();
    for (const traces::RequestId r : requests) {
      row_of("query of a task", plan_.forest.leaf, r);
      for (std::int32_t h = 0; h < heads; ++h, query += tensors_.qk_columns()) {
        std::copy_n(tensors_.query(r, first + h), tensors_.qk_columns(), query);
      }
    }
    const auto segments = slice("segments of a task", plan_.segments, task.segments);
    HostTokens tokens, next;
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const Segment& s = segments[i];
      check_interval("rows of a segment", s.row_begin, s.row_end, static_cast<std::int64_t>(requests.size()));
      tokens = i == 0 ? tokens_of(s, first) : next;
      next = i + 1 < segments.size() ? tokens_of(segments[i + 1], first) : HostTokens{};
      attend_tokens(rows_, std::int64_t{s.row_begin} * heads, std::int64_t{s.row_end} * heads, tokens, next);
    }
    std::int64_t row = 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      for (std::int32_t h = 0; h < heads; ++h, ++row) {
        fold(task, {requests[i], static_cast<std::int64_t>(i), first + h}, row);
        write(row, destination(task, {requests[i], static_cast<std::int64_t>(i), first + h}));
      }
    }
  }

  HostTokens tokens_of(const Segment& s, std::int32_t q_head) const {
    const std::int64_t end = scheduler::segment_end(plan_, s);
    check_interval("tokens of a segment", s.token_begin, end, row_of("node of a segment", plan_.forest.tokens, s.node));
    return tensors_.tokens(s.node, s.token_begin, end, q_head / plan_.heads.group());
  }

  struct RowName {
    traces::RequestId request;
    std::int64_t place;  ///< in the task's group
    std::int32_t head;
  };

  void fold(const Task& task, const RowName& name, std::int64_t row) {
    for (const scheduler::SlotId slot : slice("folds of a task", plan_.fold_slots, task.folds)) {
      const std::int64_t from = memory_.find_row(slot, name.request, name.place);
      if (from < 0) continue;
      const HostRowsMemory::Row partial = memory_.partial(slot, from, name.head);
      fold_row(rows_, row, partial.values, *partial.lse2);
    }
  }

  HostRowsMemory::Row destination(const Task& task, const RowName& name) {
    if (!task.slot.valid()) return memory_.final_row(name.request, name.head);
    return memory_.partial(task.slot, memory_.find_row(task.slot, name.request, name.place), name.head);
  }

  void write(std::int64_t row, HostRowsMemory::Row to) { *to.lse2 = finish_row(rows_, row, to.values); }

  void merge(const ReductionStep& step) {
    const auto inputs = slice("inputs of a step", plan_.reduction_inputs, step.inputs);
    for (std::int32_t r = 0; r < step.rows; ++r) {
      for (std::int32_t head = step.head_begin; head < step.head_begin + step.head_count; ++head) {
        partials_.clear();
        for (const scheduler::RowRef& input : inputs) {
          const HostRowsMemory::Row partial = memory_.partial(input.slot, std::int64_t{input.row} + r, head);
          partials_.push_back({partial.values, *partial.lse2});
          ask_for(partials_.back(), tensors_.v_columns());
        }
        const HostRowsMemory::Row to = merged(step, r, head);
        *to.lse2 = merge_rows(partials_, tensors_.v_columns(), to.values);
      }
    }
  }

  HostRowsMemory::Row merged(const ReductionStep& step, std::int32_t r, std::int32_t head) {
    return step.out.valid() ? memory_.partial(step.out, std::int64_t{step.out_row} + r, head)
                            : memory_.final_row(final_request(step, r), head);
  }

  traces::RequestId final_request(const ReductionStep& step, std::int32_t r) const {
    const std::int64_t row = std::int64_t{step.out_row} + r;
    check_interval("final rows of a step", row, row + 1, static_cast<std::int64_t>(plan_.query_rows.size()));
    return plan_.query_rows[static_cast<std::size_t>(row)];
  }

  const Plan& plan_;
  const HostTensors& tensors_;
  HostRowsMemory& memory_;
  HostRows rows_;
  std::vector<PartialRow> partials_;  ///< of the row being merged
};

/// What one thread has of its own; on lines of its own, as the next thread's lies behind it.
struct alignas(64) Lane {
  Worker worker;
  std::vector<scheduler::Span> spans;
  std::exception_ptr error;
  double last_us = 0;  ///< end of its last item
};

}  // namespace

/// Threads wait for the number of the run they work on; they stand ready, spinning, before a run's clock begins. Thread
/// 0 is the caller's own: where others use the cores too, one that has to be woken begins some milliseconds late.
struct HostExecutor::State {
  State(const Plan& p, const HostTensors& t, std::int32_t n)
      : plan(p), tensors(t), memory(p, t.v_columns()), schedule(p) {
    ESPALIER_CHECK_OP(n, >=, 1);
    for (std::int32_t i = 0; i < n; ++i) lanes.push_back({Worker(plan, tensors, memory), {}, nullptr, 0});
  }

  void stand_by(std::int32_t thread) {
    for (std::int64_t mine = 1;; ++mine) {
      {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return stop || run >= mine; });
        if (stop) return;
      }
      ready.fetch_add(1);
      while (begun.load(std::memory_order_acquire) < mine) std::this_thread::yield();
      work(thread);
      over.fetch_add(1);
    }
  }

  void work(std::int32_t thread) {
    try {
      take_items(thread);
    } catch (...) {
      lanes[static_cast<std::size_t>(thread)].error = std::current_exception();
      failed.store(true);
    }
  }

  void take_items(std::int32_t thread) {
    Lane& mine = lanes[static_cast<std::size_t>(thread)];
    while (!schedule.done() && !failed.load(std::memory_order_relaxed)) {
      const std::optional<HostItem> item = schedule.take(thread);
      if (!item) {
        std::this_thread::yield();
        continue;
      }
      const Clock::time_point from = Clock::now();
      mine.worker.run(*item);
      const Clock::time_point to = Clock::now();
      schedule.finish(*item);
      const auto us = [&](Clock::time_point t) { return std::chrono::duration<double, std::micro>(t - began).count(); };
      mine.spans.push_back(
          {thread, item->kind == scheduler::PhaseKind::tasks ? scheduler::SpanKind::task : scheduler::SpanKind::step,
           item->launch, item->index, item->copy, us(from), us(to)});
      mine.last_us = us(to);
    }
  }

  const Plan& plan;
  const HostTensors& tensors;
  HostRowsMemory memory;
  HostSchedule schedule;
  std::vector<Lane> lanes;  ///< by thread
  Clock::time_point began;
  std::mutex mutex;
  std::condition_variable wake;
  std::int64_t run = 0;
  bool stop = false;
  std::atomic<std::int64_t> begun{0};
  std::atomic<std::int32_t> ready{0}, over{0};
  std::atomic<bool> failed{false};
  std::vector<std::thread> threads;
};

std::vector<std::int32_t> host_cpus() {
  std::vector<std::int32_t> list;
#if defined(__linux__)
  cpu_set_t cpus;
  if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0) {
    for (std::int32_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &cpus)) list.push_back(cpu);
    }
  }
#endif
  return list;
}

std::int32_t host_threads() {
  const auto cpus = static_cast<std::int32_t>(host_cpus().size());
  return cpus > 0 ? cpus : static_cast<std::int32_t>(std::max(1U, std::thread::hardware_concurrency()));
}

HostExecutor::HostExecutor(const Plan& plan, const HostTensors& tensors, std::int32_t threads) {
  check_runnable(plan);
  state_ = std::make_unique<State>(plan, tensors, threads);
  for (std::int32_t t = 1; t < threads; ++t) {
    state_->threads.emplace_back([state = state_.get(), t] { state->stand_by(t); });
  }
}

HostExecutor::~HostExecutor() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
  }
  state_->wake.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
}

HostRun HostExecutor::run() {
  State& s = *state_;
  s.schedule.reset();
  s.failed.store(false);
  s.ready.store(0);
  s.over.store(0);
  for (Lane& lane : s.lanes) {
    lane.spans.clear();
    lane.error = nullptr;
    lane.last_us = 0;
  }
  const auto others = static_cast<std::int32_t>(s.threads.size());
  {
    const std::lock_guard lock(s.mutex);
    ++s.run;
  }
  s.wake.notify_all();
  while (s.ready.load() < others) std::this_thread::yield();
  s.began = Clock::now();
  s.begun.store(s.run, std::memory_order_release);
  s.work(0);
  while (s.over.load() < others) std::this_thread::yield();
  HostRun result;
  for (const Lane& lane : s.lanes) {
    if (lane.error) std::rethrow_exception(lane.error);
    result.makespan_us = std::max(result.makespan_us, lane.last_us);
    result.spans.insert(result.spans.end(), lane.spans.begin(), lane.spans.end());
  }
  std::stable_sort(result.spans.begin(), result.spans.end(), [](const scheduler::Span& a, const scheduler::Span& b) {
    return std::pair(a.begin_us, a.lane) < std::pair(b.begin_us, b.lane);
  });
  return result;
}

AttentionOutput HostExecutor::output() const { return state_->memory.output(); }

CacheFlusher::CacheFlusher(std::int64_t bytes) : data_(static_cast<std::size_t>(bytes) / sizeof(float), 1.0F) {}

void CacheFlusher::flush() {
  if (!data_.empty()) sum_ += stream_sum(data_.data(), static_cast<std::int64_t>(data_.size()));
  volatile float keep = sum_;
  static_cast<void>(keep);
}

std::vector<std::string> host_environment() {
  std::string processor = "unknown processor";
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("model name")) continue;
    processor = line.substr(std::min(line.find(':') + 2, line.size()));
    break;
  }
  return {processor, fmt::format("{} threads", host_threads()), host_instructions(), "compiler " __VERSION__};
}

HostMeasurement measure_host(const Plan& plan, const HostTensors& tensors, const HostMeasureOptions& options) {
  const std::int32_t threads = options.threads > 0 ? options.threads : host_threads();
  HostExecutor executor(plan, tensors, threads);
  CacheFlusher flusher(options.flush_bytes);
  HostMeasurement result;
  executor.run();  // pages, branch predictors
  for (std::int32_t i = 0; i < options.repeats; ++i) {
    flusher.flush();
    result.runs.push_back(executor.run());
  }
  scheduler::Measurement& m = result.measurement;
  m.device = "host";
  m.plan_hash = plan.hash;
  m.backend = "host";
  m.environment = host_environment();
  const HostRun* best = nullptr;
  for (const HostRun& run : result.runs) {
    m.repeats_us.push_back(run.makespan_us);
    if (best == nullptr || run.makespan_us < best->makespan_us) best = &run;
  }
  m.timeline.device = "host";
  m.timeline.plan_hash = plan.hash;
  for (std::int32_t t = 0; t < threads; ++t) m.timeline.lanes.push_back(fmt::format("core {}", t));
  if (best != nullptr) m.timeline.spans = best->spans;
  return result;
}

}  // namespace espalier::kernels
