// Microbenchmarks of this machine. Every point keeps the fastest of its rounds: others may use the machine too.
#include "kernels/host_bench.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/text.h"
#include "kernels/host_executor.h"
#include "scheduler/plan_builder.h"
#include "traces/import.h"

namespace espalier::kernels {
namespace {

using Clock = std::chrono::steady_clock;

double elapsed_us(Clock::time_point from) {
  return std::chrono::duration<double, std::micro>(Clock::now() - from).count();
}

/// The fastest of the rounds, and how far the fastest of the even ones lies from that of the odd ones.
class Fastest {
 public:
  void add(double us) {
    double& half = halves_[rounds_++ % 2];
    half = std::min(half, us);
  }
  double us() const { return std::min(halves_[0], halves_[1]); }
  double spread() const { return rounds_ > 1 ? std::abs(halves_[0] - halves_[1]) / us() : 0; }

 private:
  double halves_[2] = {INFINITY, INFINITY};
  std::int32_t rounds_ = 0;
};

/// All threads stream their share of the buffer `times` times, from one moment on.
double stream_us(const std::vector<float>& data, std::int32_t threads, std::int32_t times) {
  std::vector<std::thread> crew;
  std::atomic<std::int32_t> ready{0};
  std::atomic<bool> go{false};
  const auto share = static_cast<std::int64_t>(data.size()) / threads;
  std::vector<double> us(static_cast<std::size_t>(threads));
  std::vector<float> sums(static_cast<std::size_t>(threads));
  Clock::time_point begin;
  for (std::int32_t t = 0; t < threads; ++t) {
    crew.emplace_back([&, t] {
      const float* mine = data.data() + t * share;
      float sum = stream_sum(mine, share);
      ready.fetch_add(1);
      while (!go.load(std::memory_order_acquire)) std::this_thread::yield();
      for (std::int32_t i = 0; i < times; ++i) sum += stream_sum(mine, share);
      us[static_cast<std::size_t>(t)] = elapsed_us(begin);
      sums[static_cast<std::size_t>(t)] = sum;
    });
  }
  while (ready.load() < threads) std::this_thread::yield();
  begin = Clock::now();
  go.store(true, std::memory_order_release);
  for (std::thread& thread : crew) thread.join();
  volatile float keep = sums[0];
  static_cast<void>(keep);
  return *std::max_element(us.begin(), us.end());
}

/// Streaming reads of one buffer, by threads.
class Streams {
 public:
  Streams(std::int64_t bytes, std::int32_t times, std::int32_t threads)
      : data_(static_cast<std::size_t>(bytes) / sizeof(float), 1.0F), times_(times),
        by_threads_(static_cast<std::size_t>(threads)) {}

  void round() {
    for (std::size_t i = 0; i < by_threads_.size(); ++i) {
      by_threads_[i].add(stream_us(data_, static_cast<std::int32_t>(i) + 1, times_));
    }
  }
  void forget() { std::fill(by_threads_.begin(), by_threads_.end(), Fastest{}); }
  double spread() const {
    double most = 0;
    for (const Fastest& time : by_threads_) most = std::max(most, time.spread());
    return most;
  }
  std::vector<double> bytes_per_us() const {
    std::vector<double> rates;
    for (const Fastest& time : by_threads_) {
      rates.push_back(static_cast<double>(data_.size() * sizeof(float)) * times_ / time.us());
    }
    return rates;
  }

 private:
  std::vector<float> data_;
  std::int32_t times_;
  std::vector<Fastest> by_threads_;
};

/// The attention kernel on one core, everything in that core's cache.
class KernelPoint {
 public:
  KernelPoint(std::int32_t rows, std::int64_t tokens, std::int64_t columns)
      : rows_(rows), tokens_(tokens), columns_(columns), kv_(static_cast<std::size_t>(2 * tokens * columns), 0) {
    state_.reset(rows, columns, columns);
    once();
    const Clock::time_point warm = Clock::now();
    once();
    times_ = static_cast<std::int32_t>(std::clamp(kLeastUs / elapsed_us(warm), 1.0, 10000.0));
  }

  void round() {
    const Clock::time_point begin = Clock::now();
    for (std::int32_t i = 0; i < times_; ++i) once();
    time_.add(elapsed_us(begin) / times_);
  }
  void forget() { time_ = {}; }
  double spread() const { return time_.spread(); }
  costmodel::HostSamples::KernelPoint sample() const {
    return {{.queries = rows_, .kv_tokens = tokens_, .visible_pairs = rows_ * tokens_}, time_.us()};
  }

 private:
  static constexpr double kLeastUs = 200;
  void once() {
    attend_tokens(state_, 0, rows_, {kv_.data(), kv_.data() + tokens_ * columns_, columns_, columns_, tokens_});
  }

  std::int32_t rows_;
  std::int64_t tokens_, columns_;
  std::vector<std::uint16_t> kv_;
  HostRows state_;
  std::int32_t times_ = 1;
  Fastest time_;
};

/// What a task does with each of its rows before the first tokens and after the last, on one core, everything in that
/// core's cache.
class RowPoint {
 public:
  explicit RowPoint(std::int64_t columns)
      : columns_(columns), queries_(static_cast<std::size_t>(kRows * columns), 1),
        results_(queries_.size() + kRows, 0) {
    once();
  }

  void round() {
    const Clock::time_point begin = Clock::now();
    for (std::int32_t i = 0; i < kTimes; ++i) once();
    time_.add(elapsed_us(begin) / (kTimes * kRows));
  }
  void forget() { time_ = {}; }
  double us() const { return time_.us(); }  ///< of one row
  double spread() const { return time_.spread(); }

 private:
  static constexpr std::int64_t kRows = 32, kTimes = 200;
  void once() {
    state_.reset(kRows, columns_, columns_);
    std::copy(queries_.begin(), queries_.end(), state_.query.begin());
    for (std::int64_t row = 0; row < kRows; ++row) {
      state_.sum[static_cast<std::size_t>(row)] = 1;
      float* to = &results_[static_cast<std::size_t>(row * columns_)];
      results_[static_cast<std::size_t>(kRows * columns_ + row)] = finish_row(state_, row, to);
    }
  }

  std::int64_t columns_;
  std::vector<float> queries_, results_;
  HostRows state_;
  Fastest time_;
};

/// `count` requests of one token each, one task a request; `chain`: a launch each, one after another.
scheduler::Plan tiny_tasks(std::int32_t count, bool chain) {
  const traces::PrefixForest forest = traces::parse_tree(fmt::format("{}|1", count));
  traces::HeadConfig heads;
  heads.q_heads = heads.kv_heads = 1;
  scheduler::PlanBuilder builder(forest, heads);
  const scheduler::KernelId kernel = builder.kernel(costmodel::find_kernel("espalier_mma_m16"));
  builder.launch();
  scheduler::TaskId first(0);
  for (std::int32_t i = 0; i < count; ++i) {
    const scheduler::Segment segment = builder.segment(traces::NodeId(i), 0, 1, 1);
    const traces::RequestId request(i);
    builder.attend(kernel, std::span(&segment, 1), builder.queries(std::span(&request, 1)));
    if (!chain && i + 1 < count) continue;
    builder.task_phase(kernel, first);
    first = builder.next_task();
    if (i + 1 < count) builder.launch();
  }
  builder.finish_rows(traces::Dtype::fp32);
  return std::move(builder).finish({});
}

/// Tasks with next to nothing to do, side by side or in a chain of launches.
class TinyTasks {
 public:
  TinyTasks(std::int32_t count, bool chain, std::int32_t threads)
      : count_(count), plan_(tiny_tasks(count, chain)),
        tensors_(plan_.forest, plan_.heads, nullptr, std::int64_t{1} << 30), executor_(plan_, tensors_, threads) {
    executor_.run();
  }
  void round() { time_.add(executor_.run().makespan_us); }
  void forget() { time_ = {}; }
  double us() const { return time_.us() / count_; }  ///< of one of them

 private:
  std::int32_t count_;
  scheduler::Plan plan_;
  HostTensors tensors_;
  HostExecutor executor_;
  Fastest time_;
};

double clock_ghz() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (!line.starts_with("cpu MHz")) continue;
    const auto mhz = core::parse_number(line.substr(std::min(line.find(':') + 2, line.size())));
    if (mhz && *mhz > 100) return *mhz * 1e-3;
  }
  return 1;
}

std::int64_t system_bytes(int name, std::int64_t otherwise) {
  const long bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

/// Of all cores that may be used. The system's own figure is that of a whole socket, of which a virtual machine may
/// have got a part.
std::int64_t last_level_cache() {
  const std::int64_t bytes = last_level_bytes("/sys/devices/system/cpu", host_cpus());
  return bytes > 0 ? bytes : system_bytes(_SC_LEVEL3_CACHE_SIZE, std::int64_t{32} << 20);
}
std::int64_t own_cache() { return system_bytes(_SC_LEVEL2_CACHE_SIZE, std::int64_t{1} << 20); }

/// Beyond the cores' own caches together, well within the shared one.
std::int64_t shared_bytes(std::int32_t threads) {
  return std::min(last_level_cache() / 2, std::max<std::int64_t>(4 * own_cache() * threads, last_level_cache() / 4));
}

}  // namespace

std::int64_t last_level_bytes(const std::filesystem::path& folder, std::span<const std::int32_t> cpus) {
  std::map<std::string, std::int64_t> bytes;  // by those who share it
  for (const std::int32_t cpu : cpus) {
    std::int64_t highest = 0, size = 0;
    std::string sharers;
    std::error_code none;
    for (const auto& cache : std::filesystem::directory_iterator(folder / fmt::format("cpu{}", cpu) / "cache", none)) {
      const auto read = [&](const char* name, auto&... values) {
        std::ifstream file(cache.path() / name);
        (file >> ... >> values);
      };
      std::int64_t level = 0, number = 0;
      char unit = 0;
      read("level", level);
      if (level <= highest) continue;
      highest = level;
      read("size", number, unit);
      size = unit == 'K' ? number << 10 : unit == 'M' ? number << 20 : number;
      sharers = std::to_string(cpu);
      read("shared_cpu_list", sharers);
    }
    if (size > 0) bytes[sharers] = size;
  }
  std::int64_t sum = 0;
  for (const auto& [sharers, size] : bytes) sum += size;
  return sum;
}

struct HostBench::State {
  static constexpr std::int32_t kTasks = 4000, kLaunches = 400, kCachePasses = 4;

  State(std::int32_t count, std::int64_t memory_bytes)
      : threads(count), memory(std::max(memory_bytes, 2 * last_level_cache()), 1, count),
        cache(shared_bytes(count), kCachePasses, count), tasks(kTasks, false, count), alone(kLaunches, false, 1),
        launches(kLaunches, true, count) {
    for (const std::int64_t tokens : {16, 48, 192, 512}) {
      for (const std::int32_t rows : {1, 2, 4, 8, 16, 32, 64}) kernel.emplace_back(rows, tokens, heads().qk_dim);
    }
  }

  void round() {
    ++rounds;
    memory.round();
    cache.round();
    for (KernelPoint& point : kernel) point.round();
    row.round();
    tasks.round();
    alone.round();
    launches.round();
  }

  static traces::HeadConfig heads() {
    traces::HeadConfig one;
    one.q_heads = one.kv_heads = 1;
    return one;
  }

  std::int32_t threads, rounds = 0;
  Streams memory, cache;
  std::vector<KernelPoint> kernel;
  RowPoint row{heads().qk_dim};
  TinyTasks tasks, alone, launches;  ///< alone: on one thread, as those of a chain are
};

HostBench::HostBench(const HostBenchOptions& options)
    : state_(std::make_unique<State>(options.threads > 0 ? options.threads : host_threads(), options.memory_bytes)) {}
HostBench::~HostBench() = default;

void HostBench::run(std::int32_t rounds) {
  for (std::int32_t i = 0; i < rounds; ++i) state_->round();
}

void HostBench::forget() {
  State& s = *state_;
  s.rounds = 0;
  s.memory.forget();
  s.cache.forget();
  for (KernelPoint& point : s.kernel) point.forget();
  s.row.forget();
  s.tasks.forget();
  s.alone.forget();
  s.launches.forget();
}

costmodel::HostSamples HostBench::samples() const {
  const State& state = *state_;
  if (state.rounds == 0) throw core::bad_input("benchmarks of the host", "at least one round", "none");
  costmodel::HostSamples s;
  s.threads = state.threads;
  s.clock_ghz = clock_ghz();
  s.cache_mib = static_cast<double>(last_level_cache()) / (1 << 20);
  s.memory_gib = static_cast<double>(system_bytes(_SC_PHYS_PAGES, 1 << 20)) *
                 static_cast<double>(system_bytes(_SC_PAGE_SIZE, 4096)) / (1 << 30);
  s.memory_bytes_per_us = state.memory.bytes_per_us();
  s.cache_bytes_per_us = state.cache.bytes_per_us();
  s.heads = State::heads();
  s.config = costmodel::find_kernel("espalier_mma_m64");
  s.config.engine = costmodel::Engine::cpu;
  s.config.kv_tile = costmodel::host_kv_tile(s.heads);
  s.config.rows_per_warp = costmodel::kHostRowStep;
  s.config.stages = 2;
  s.spread = std::max(state.memory.spread(), state.cache.spread());
  for (const KernelPoint& point : state.kernel) {
    s.kernel.push_back(point.sample());
    s.spread = std::max(s.spread, point.spread());
  }
  s.row_us = state.row.us();
  s.spread = std::max(s.spread, state.row.spread());
  s.task_us = state.tasks.us() * s.threads;
  s.launch_us = std::max(0.0, state.launches.us() - state.alone.us());
  s.environment = core::join(host_environment(), ", ");
  return s;
}

}  // namespace espalier::kernels
