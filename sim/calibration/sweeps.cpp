// Sweeps, and the synthesizer that measures a device of paper with them.
#include "sim/calibration/sweeps.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "core/rng.h"
#include "costmodel/regression.h"
#include "sim/calibration/microbenchmark_models.h"

namespace espalier::sim {
namespace {

using costmodel::DeviceSpec;

constexpr double kKib = 1024, kMib = 1048576;

/// Bytes that take about a millisecond at full rate.
double streamed_bytes(const DeviceSpec& device) { return std::floor(device.hbm_achievable_bytes_per_us() * 1000); }
/// Operations of an SM that take about 100 us.
double operations(double per_clk, const DeviceSpec& device) {
  return std::floor(per_clk * device.clocks_per_us() * 100);
}
/// Memory's latency times bandwidth, a CTA of each SM: the corner of the ramp.
double corner_bytes(const DeviceSpec& device) {
  return device.hbm_latency_ns * 1e-3 * device.hbm_achievable_bytes_per_us() / device.sms;
}

}  // namespace

SweepPoints sweep_clock(const DeviceSpec&) {
  SweepPoints points;
  // Global timers go on in steps of up to a microsecond: a thousand of them and more.
  for (const double cycles : {2e6, 3e6, 4e6, 5e6, 7e6, 1e7}) points.push_back({cycles});
  return points;
}

SweepPoints sweep_loads(const DeviceSpec&) {
  SweepPoints points;
  for (const double load : {0, 1}) {
    for (const double cycles : {1e8, 1e9, 5e9}) points.push_back({cycles, load});
  }
  return points;
}

SweepPoints sweep_streams(const DeviceSpec& device) {
  SweepPoints points;
  for (const double ctas_per_sm : {1, 2, 4, 8}) {
    for (const double kib : {0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0}) {
      points.push_back({device.sms * ctas_per_sm, kib * kKib, streamed_bytes(device)});
    }
  }
  return points;
}

SweepPoints sweep_mixed_streams(const DeviceSpec& device) {
  SweepPoints points;
  const double bytes = streamed_bytes(device);
  const double in_flight = std::ceil(8 * corner_bytes(device) / (2 * kKib)) * kKib;
  for (const double write : {0.0, 0.125, 0.25, 0.5, 0.75, 1.0}) {
    for (const double ctas_per_sm : {2, 4}) {
      points.push_back({device.sms * ctas_per_sm, in_flight, bytes * (1 - write), bytes * write});
    }
  }
  return points;
}

SweepPoints sweep_rings(const DeviceSpec& device) {
  SweepPoints points;
  for (const double tile_kib : {1, 2, 4, 8, 16, 32, 64}) {
    for (const double stages : {2, 3, 4, 6}) {
      if (tile_kib * stages > device.smem_kib_per_cta) continue;
      points.push_back({device.sms, stages, tile_kib * kKib, streamed_bytes(device)});
    }
  }
  return points;
}

SweepPoints sweep_cycled_sets(const DeviceSpec& device) {
  SweepPoints points;
  const double bytes = streamed_bytes(device) * 2;
  // Four times the capacity to a tenth of it, densest around the knee.
  for (const double share : {0.1,  0.15, 0.2,  0.3, 0.4,  0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
                             0.95, 1.0,  1.05, 1.1, 1.15, 1.2, 1.3, 1.4,  1.5, 1.75, 2.0, 3.0,  4.0}) {
    points.push_back({device.sms * 4, 32 * kKib, std::floor(share * device.l2_mib * kMib), bytes});
  }
  // A few CTAs alone: the port of an SM binds.
  for (const double ctas : {1, 2, 3, 4, 6, 8}) {
    points.push_back({ctas, 64 * kKib, std::floor(0.1 * device.l2_mib * kMib), std::floor(bytes * ctas / device.sms)});
  }
  return points;
}

SweepPoints sweep_shared_segments(const DeviceSpec& device) {
  SweepPoints points;
  for (const double readers : {1, 2, 3, 4, 8}) {
    for (const double mib : {1, 4}) {
      for (const double skew : {0.0, 1.0}) {
        points.push_back({std::floor(device.sms * 2 / readers), readers, mib * kMib, 64 * kKib, skew});
      }
    }
  }
  return points;
}

SweepPoints sweep_chases(const DeviceSpec& device) {
  SweepPoints points;
  for (const double share : {0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 6.0, 8.0}) {
    points.push_back({std::max(kMib, std::floor(share * device.l2_mib * kMib)), 1000});
  }
  return points;
}

SweepPoints sweep_shared_memory(const DeviceSpec& device) {
  SweepPoints points;
  for (const double degree : {1, 2, 4, 8}) {
    for (const double writes : {0.0, 1.0 / 16}) {
      const double bytes = operations(device.smem_bytes_per_clk, device) / degree;
      points.push_back({bytes, degree, std::floor(writes * bytes)});
    }
  }
  return points;
}

SweepPoints sweep_tensor(const DeviceSpec& device) {
  SweepPoints points;
  for (const double group : {0, 1}) {
    const double rate = group > 0 ? device.wgmma_flop_per_clk : device.mma_flop_per_clk;
    if (rate <= 0) continue;
    for (const double bits : {16, 8}) {
      if (bits < 16 && device.fp8_rate_factor <= 0) continue;
      for (const double chains : {16, 32, 64}) {
        for (const double length : {0.5, 1.0}) {
          points.push_back({operations(length * rate, device), group, bits, chains});
        }
      }
    }
  }
  return points;
}

SweepPoints sweep_pipes(const DeviceSpec& device) {
  SweepPoints points;
  for (const double length : {0.25, 0.5, 1.0, 2.0}) {
    points.push_back({operations(length * device.ex2_per_clk, device), 0, 0});
    points.push_back({0, operations(length * device.fma_flop_per_clk, device), 0});
    points.push_back({0, 0, operations(length * device.fp8_convert_per_clk, device)});
  }
  return points;
}

SweepPoints sweep_mixed_loops(const DeviceSpec& device) {
  // Two levels of each pipe, without the corner where all are low.
  SweepPoints points;
  for (int mix = 1; mix < 16; ++mix) {
    const auto of = [&](int bit, double rate) { return operations((mix >> bit & 1) != 0 ? rate : rate / 4, device); };
    points.push_back({of(0, device.mma_flop_per_clk), of(1, device.ex2_per_clk), of(2, device.fma_flop_per_clk),
                      of(3, device.smem_bytes_per_clk)});
  }
  return points;
}

SweepPoints sweep_empty_kernels(const DeviceSpec& device) {
  SweepPoints points;
  for (const double follow : {0, 1, 2}) {
    for (const double ctas : {1.0, 32.0, device.sms, 1024.0, 4096.0, 16384.0, 65536.0}) {
      points.push_back({follow, ctas});
    }
  }
  return points;
}

SweepPoints sweep_attention_ctas(const DeviceSpec& device) {
  SweepPoints points;
  const double tile = 16 * kKib;
  const double stages = device.smem_kib_per_cta >= 64 ? 3 : 2;
  for (const double items : {1, 2, 4, 8, 16, 64, 256}) {
    for (const double tiles : {0, 1, 2, 8}) points.push_back({items, tiles, tile, (stages - 1) * tile, 0});
  }
  return points;
}

SweepPoints sweep_cta_barriers(const DeviceSpec& device) {
  SweepPoints points;
  for (const double kind : {0, 1, 2, 3}) {
    if (kind == 3 && device.compute_capability < 9) continue;
    for (const double warps : {1, 2, 4, 8, 16, 32}) {
      for (const double barriers : {500, 2000}) points.push_back({kind, warps, barriers});
    }
  }
  return points;
}

SweepPoints sweep_reductions(const DeviceSpec& device) {
  SweepPoints points;
  const BesideDevice usual = usual_subject(device).beside;
  for (const double addresses : {1, 2, 4, 8, 256, 1024, 4096, 16384, 32768}) {
    points.push_back(
        {addresses,
         operations(std::min(addresses * usual.address_reductions_per_clk, usual.reductions_per_clk), device)});
  }
  return points;
}

SweepPoints sweep_unequal_ctas(const DeviceSpec& device) {
  SweepPoints points;
  for (const double ctas_per_sm : {2, 3, 4, 8}) {
    for (const double shortest_us : {5, 15}) points.push_back({device.sms * ctas_per_sm, 20, shortest_us});
  }
  return points;
}

SweepPoints sweep_two_streams(const DeviceSpec& device) {
  SweepPoints points;
  const double ctas = std::floor(device.sms / 2), in_flight = 32 * kKib;
  const double rate =
      std::min(0.5 * device.hbm_achievable_bytes_per_us(), 0.8 * ctas * in_flight / (device.hbm_latency_ns * 1e-3));
  for (const double total_us : {100, 200}) {
    for (const double products : {0.25, 0.5, 0.75}) {
      for (const double overlapped : {0, 1}) {
        points.push_back({ctas, operations(products * total_us / 100 * device.mma_flop_per_clk, device), in_flight,
                          std::floor((1 - products) * total_us * rate), overlapped});
      }
    }
  }
  return points;
}

SweepPoints sweep_merges(const DeviceSpec&) {
  SweepPoints points;
  for (const double rows : {64, 512, 4096}) {
    for (const double splits : {2, 4, 8, 16, 32, 64}) points.push_back({splits, rows, 128});
  }
  return points;
}

SweepPoints sweep_barriers(const DeviceSpec& device) {
  SweepPoints points;
  for (const double barriers : {1, 2, 4, 8, 16, 32}) points.push_back({device.sms, barriers});
  return points;
}

SweepPoints sweep_gathers(const DeviceSpec& device) {
  constexpr double kGathered = 32 * kKib;  // under way in a CTA
  SweepPoints points;
  for (const double page_kib : {0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0}) {
    // So few that bandwidth isn't what they wait for, and one an SM.
    const double few = std::max(1.0, std::floor(corner_bytes(device) * device.sms / (2 * kGathered)));
    for (const double ctas : {std::min(few, device.sms), device.sms}) {
      points.push_back({ctas, kGathered, streamed_bytes(device), page_kib * kKib});
    }
  }
  return points;
}

costmodel::MeasurementFile synthesize_measurement(const CalibrationSubject& truth, const SynthesisOptions& options) {
  ESPALIER_CHECK(options.repeats >= 1 && options.noise >= 0);
  costmodel::MeasurementFile file;
  file.environment = {truth.device.label + " (synthetic)", "none: simulated", costmodel::kernel_build_hash()};
  for (const costmodel::DeviceField& field : costmodel::device_fields()) {
    if (costmodel::is_reported(field.name)) file.query.emplace(field.name, truth.device.*field.member);
  }
  core::Rng rng(options.seed);
  for (const MicrobenchmarkModel& model : microbenchmark_models()) {
    costmodel::MeasuredFamily family;
    family.id = model.id;
    family.parameters.resize(costmodel::find_family(model.id)->parameters.size());
    for (const std::vector<double>& point : model.sweep(truth.device)) {
      ESPALIER_CHECK_OP(point.size(), ==, family.parameters.size());
      for (std::size_t p = 0; p < point.size(); ++p) family.parameters[p].push_back(point[p]);
      const double us = model.predict_us(point, truth);
      std::vector<double> repeats;
      for (std::int32_t r = 0; r < options.repeats; ++r) repeats.push_back(us * std::exp(options.noise * rng.normal()));
      const double median = costmodel::quantile(repeats, 0.5);
      family.repeats.push_back(options.repeats);
      family.median_us.push_back(median);
      family.spread.push_back((costmodel::quantile(repeats, 0.75) - costmodel::quantile(repeats, 0.25)) / median);
    }
    file.families.push_back(std::move(family));
  }
  return file;
}

}  // namespace espalier::sim
