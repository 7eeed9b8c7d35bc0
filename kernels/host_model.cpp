// Microbenchmarks of this machine. Every point keeps the fastest of its repeats: others may use the machine too.
#include "kernels/host_model.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <thread>

#include "core/text.h"
#include "kernels/host_executor.h"
#include "scheduler/plan_builder.h"

namespace espalier::kernels {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kBytesAhead = 4096;

double elapsed_us(Clock::time_point from) { return std::chrono::duration<double, std::micro>(Clock::now() - from).count(); }

/// The fastest of the repeats, and how far the fastest of the even ones lies from that of the odd ones.
struct Timed {
  double us = INFINITY;
  double spread = 0;
};

Timed fastest(std::int32_t repeats, const std::function<double()>& run) {
  double halves[2] = {INFINITY, INFINITY};
  for (std::int32_t i = 0; i < repeats; ++i) {
    double& half = halves[i % 2];
    half = std::min(half, run());
  }
  const double us = std::min(halves[0], halves[1]);
  return {us, repeats > 1 ? std::abs(halves[0] - halves[1]) / us : 0};
}

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

std::vector<double> bandwidths(std::int64_t bytes, std::int32_t times, const HostBenchOptions& o, double& spread) {
  const std::vector<float> data(static_cast<std::size_t>(bytes) / sizeof(float), 1.0F);
  std::vector<double> rates;
  for (std::int32_t threads = 1; threads <= o.threads; ++threads) {
    const Timed timed = fastest(o.repeats, [&] { return stream_us(data, threads, times); });
    rates.push_back(static_cast<double>(data.size() * sizeof(float)) * times / timed.us);
    spread = std::max(spread, timed.spread);
  }
  return rates;
}

void measure_kernel(costmodel::HostSamples& s, const HostBenchOptions& o) {
  constexpr double kLeastUs = 200;
  const std::int64_t columns = s.heads.qk_dim;
  for (const std::int64_t tokens : {48, 192, 512}) {
    const std::vector<std::uint16_t> kv(static_cast<std::size_t>(2 * tokens * columns), 0);
    for (const std::int32_t rows : {1, 2, 4, 8, 16, 32, 64}) {
      HostRows state;
      state.reset(rows, columns, columns);
      const HostTokens run{kv.data(), kv.data() + tokens * columns, columns, columns, tokens};
      const auto once = [&] { attend_tokens(state, 0, rows, run); };
      const Clock::time_point warm = Clock::now();
      once();
      const auto times = static_cast<std::int32_t>(std::clamp(kLeastUs / elapsed_us(warm), 1.0, 10000.0));
      const Timed timed = fastest(o.repeats, [&] {
        const Clock::time_point begin = Clock::now();
        for (std::int32_t i = 0; i < times; ++i) once();
        return elapsed_us(begin) / times;
      });
      s.kernel.push_back({{.queries = rows, .kv_tokens = tokens, .visible_pairs = rows * tokens}, timed.us});
      s.spread = std::max(s.spread, timed.spread);
    }
  }
}

/// `count` requests of one token each, one task a request; `chain`: a launch each, one after another.
scheduler::Plan tiny_tasks(std::int32_t count, bool chain) {
  traces::ForestSource source;
  source.name = "tiny";
  for (std::int32_t i = 0; i < count; ++i) {
    source.parent.push_back(-1);
    source.tokens.push_back(1);
    source.leaf.push_back(i);
  }
  const traces::PrefixForest forest = traces::make_forest(source);
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

Timed run_tiny(std::int32_t count, bool chain, const HostBenchOptions& o) {
  const scheduler::Plan plan = tiny_tasks(count, chain);
  const HostTensors tensors(plan.forest, plan.heads, nullptr, std::int64_t{1} << 30);
  HostExecutor executor(plan, tensors, o.threads);
  executor.run();
  return fastest(2 * o.repeats, [&] { return executor.run().makespan_us; });
}

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

}  // namespace

std::int32_t host_kv_tile(const traces::HeadConfig& heads) {
  return static_cast<std::int32_t>(std::max<std::int64_t>(1, kBytesAhead / heads.kv_bytes_per_token_head()));
}

scheduler::Plan as_host_plan(const scheduler::Plan& plan) {
  scheduler::Plan host = plan;
  for (costmodel::KernelConfig& kernel : host.kernels) {
    const bool attend = kernel.role != costmodel::KernelRole::reduce;
    kernel.origin = "what the host executor runs for " + kernel.name;
    kernel.name = "host_" + kernel.name;
    kernel.engine = costmodel::Engine::cpu;
    kernel.kv_tile = attend ? host_kv_tile(plan.heads) : 1;
    kernel.rows_per_warp = static_cast<std::int32_t>(kHostRowStep);
    kernel.stages = attend ? 2 : 1;
    kernel.warps = 1;
    kernel.smem_bytes = 1;
    kernel.registers = 32;
    kernel.lookups = 0;
    kernel.overlap = 0;
    kernel.efficiency = 1;
    kernel.partial_dtype = traces::Dtype::fp32;
    kernel.implemented = true;
  }
  seal(host);
  return host;
}

costmodel::HostSamples measure_host_samples(const HostBenchOptions& options) {
  HostBenchOptions o = options;
  if (o.threads <= 0) o.threads = host_threads();
  costmodel::HostSamples s;
  s.threads = o.threads;
  s.clock_ghz = clock_ghz();
  const std::int64_t cache = system_bytes(_SC_LEVEL3_CACHE_SIZE, std::int64_t{32} << 20);
  const std::int64_t own = system_bytes(_SC_LEVEL2_CACHE_SIZE, std::int64_t{1} << 20);
  s.cache_mib = static_cast<double>(cache) / (1 << 20);
  s.memory_gib = static_cast<double>(system_bytes(_SC_PHYS_PAGES, 1 << 20)) * static_cast<double>(system_bytes(_SC_PAGE_SIZE, 4096)) / (1 << 30);
  s.memory_bytes_per_us = bandwidths(std::max(o.memory_bytes, 2 * cache), 1, o, s.spread);
  // Beyond the cores' own caches together, well within the shared one.
  s.cache_bytes_per_us = bandwidths(std::min(cache / 2, std::max<std::int64_t>(4 * own * o.threads, cache / 4)), 4, o, s.spread);
  s.heads.q_heads = s.heads.kv_heads = 1;
  s.config = costmodel::find_kernel("espalier_mma_m64");
  s.config.engine = costmodel::Engine::cpu;
  s.config.kv_tile = host_kv_tile(s.heads);
  s.config.rows_per_warp = static_cast<std::int32_t>(kHostRowStep);
  s.config.stages = 2;
  measure_kernel(s, o);
  constexpr std::int32_t kTasks = 4000, kLaunches = 400;
  s.task_us = run_tiny(kTasks, false, o).us * o.threads / kTasks;
  s.launch_us = std::max(0.01, run_tiny(kLaunches, true, o).us / kLaunches - s.task_us);
  s.environment = core::join(host_environment(), ", ");
  return s;
}

}  // namespace espalier::kernels
