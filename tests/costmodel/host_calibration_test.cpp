// Samples made from a known host give that host back; samples that say nothing about a parameter don't make it
// measured.
#include "costmodel/host_calibration.h"

#include <gmock/gmock.h>

#include <cmath>

#include "core/error.h"

namespace espalier::costmodel {
namespace {

constexpr double kClock = 2.5, kFlops = 20, kWidened = 1.5, kBytes = 12;

/// The bytes-in-flight law with the exponent the fit assumes.
double law(double cores, double rate, double limit) {
  return cores * rate / std::pow(1 + std::pow(cores * rate / limit, 4), 0.25);
}

double kernel_us(const HostSamples& s, const TaskShape& shape) {
  const WorkCounts counts = count_task(shape, s.config, s.heads);
  const double cycles =
      static_cast<double>(counts.fma_flops) / kFlops + static_cast<double>(counts.conversions) / kWidened +
      static_cast<double>(counts.smem_write_bytes + counts.smem_read_bytes - 2 * counts.query_bytes) / kBytes;
  return cycles / (kClock * 1e3);
}

HostSamples known_host(double core_rate = 12'000, double limit = 30'000) {
  HostSamples s;
  s.threads = 4;
  s.clock_ghz = kClock;
  s.heads.q_heads = s.heads.kv_heads = 1;
  s.config = find_kernel("espalier_mma_m64");
  s.config.engine = Engine::cpu;
  s.config.rows_per_warp = 2;
  s.config.kv_tile = 8;
  s.config.stages = 2;
  for (int t = 1; t <= s.threads; ++t) {
    s.memory_bytes_per_us.push_back(law(t, core_rate, limit));
    s.cache_bytes_per_us.push_back(law(t, 40'000, 90'000));
  }
  for (const std::int32_t rows : {1, 2, 4, 8, 16, 32}) {
    for (const std::int64_t tokens : {64, 192, 512}) {
      const TaskShape shape{.queries = rows, .kv_tokens = tokens, .visible_pairs = rows * tokens};
      s.kernel.push_back({shape, kernel_us(s, shape)});
    }
  }
  s.row_us = 0.03;
  s.task_us = 0.7;
  s.launch_us = 3;
  return s;
}

TEST(HostCalibration, GivesTheKnownHostBack) {
  const HostSamples known = known_host();
  const DeviceSpec device = fit_host(known).device;
  EXPECT_EQ(device.sms, 4);
  EXPECT_NEAR(device.hbm_gbps, 30, 0.01);
  EXPECT_NEAR(device.hbm_latency_ns, 4096 / 12'000.0 * 1e3, 0.5);
  EXPECT_NEAR(device.l2_bytes_per_clk, 90 / kClock, 0.01);
  EXPECT_NEAR(device.fma_flop_per_clk, kFlops, 0.01);
  EXPECT_NEAR(device.smem_bytes_per_clk, kBytes, 0.01);
  EXPECT_NEAR(device.fp8_convert_per_clk, kWidened, 0.01);
  const double token_ns = 1e3 * kernel_us(known, {.queries = 1, .kv_tokens = 1, .visible_pairs = 1});
  EXPECT_NEAR(device.cta_start_ns, 700 - 30 - token_ns, 0.01);
  EXPECT_GT(token_ns, 1);
  EXPECT_DOUBLE_EQ(device.row_ns, 30);
  EXPECT_EQ(device.provenance.at("row_ns").origin, Origin::measured);
  EXPECT_DOUBLE_EQ(device.launch_graph_us, 3);
  EXPECT_EQ(device.provenance.at("hbm_gbps").origin, Origin::measured);
  EXPECT_EQ(device.provenance.size(), device_fields().size());
  EXPECT_NO_THROW(read_device(write_device(device), "host.json"));
}

TEST(HostCalibration, PassesOverPointsThatANeighbourSlowedDown) {
  HostSamples s = known_host();
  s.kernel[3].us *= 1.7;
  const DeviceSpec device = fit_host(s).device;
  EXPECT_NEAR(device.fma_flop_per_clk, kFlops, 0.1 * kFlops);
  EXPECT_NEAR(device.fp8_convert_per_clk, kWidened, 0.1 * kWidened);
}

TEST(HostCalibration, DoesNotCallMeasuredWhatTheSamplesDontShow) {
  // Four cores that bring four times as much say nothing about the limit of all.
  const DeviceSpec free = fit_host(known_host(12'000, 1e7)).device;
  EXPECT_EQ(free.provenance.at("hbm_gbps").origin, Origin::assumed);
  EXPECT_EQ(free.provenance.at("hbm_latency_ns").origin, Origin::measured);
  // One core that gets all there is says nothing about what it asks for.
  HostSamples s = known_host();
  s.memory_bytes_per_us.assign(4, 9'000);
  const DeviceSpec full = fit_host(s).device;
  EXPECT_EQ(full.provenance.at("hbm_gbps").origin, Origin::measured);
  EXPECT_NEAR(full.hbm_gbps, 9, 1e-9);
  EXPECT_EQ(full.provenance.at("hbm_latency_ns").origin, Origin::assumed);
}

TEST(HostCalibration, LaunchesThatCostNoMoreThanTasksAreNotCalledMeasured) {
  HostSamples s = known_host();
  s.launch_us = 0;
  EXPECT_EQ(fit_host(s).device.provenance.at("launch_graph_us").origin, Origin::assumed);
  s.launch_us = -1;
  EXPECT_THROW(fit_host(s), core::Error);
}

TEST(HostCalibration, KernelCostsAreNeverNegative) {
  HostSamples s = known_host();
  // Time that falls with the rows can't be explained by anything but the bytes.
  for (HostSamples::KernelPoint& p : s.kernel) p.us /= std::pow(p.shape.queries, 0.3);
  const DeviceSpec device = fit_host(s).device;
  EXPECT_GT(device.fma_flop_per_clk, 0);
  EXPECT_GT(device.smem_bytes_per_clk, 0);
}

TEST(HostCalibration, RefusesBadSamples) {
  const auto refuses = [](auto change) {
    HostSamples s = known_host();
    change(s);
    EXPECT_THROW(fit_host(s), core::Error);
  };
  refuses([](HostSamples& s) { s.kernel[3].us = 0; });
  refuses([](HostSamples& s) { s.kernel[3].us = NAN; });
  refuses([](HostSamples& s) { s.kernel.resize(5); });
  refuses([](HostSamples& s) { s.memory_bytes_per_us.pop_back(); });
  refuses([](HostSamples& s) { s.cache_bytes_per_us[0] = -1; });
  refuses([](HostSamples& s) { s.task_us = INFINITY; });
  refuses([](HostSamples& s) { s.row_us = 0; });
}

}  // namespace
}  // namespace espalier::costmodel
