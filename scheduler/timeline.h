// What happened when: the one type in which simulated and measured runs are compared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "scheduler/plan.h"

namespace espalier::scheduler {

enum class SpanKind : std::uint8_t { task, step, launch_gap, barrier };
std::string_view span_kind_name(SpanKind kind);

struct Span {
  std::int32_t lane = 0;  ///< index of Timeline::lanes
  SpanKind kind = SpanKind::task;
  LaunchId launch;
  std::int32_t item = -1;  ///< task or step id
  std::int32_t copy = 0;
  double begin_us = 0;
  double end_us = 0;
};

struct CounterSeries {
  std::string name;  ///< "HBM", "L2", "resident CTAs", …
  std::string unit;  ///< "GB/s", "CTAs"
  std::vector<double> time_us;
  std::vector<double> value;
};

struct Timeline {
  std::string device;
  std::uint64_t plan_hash = 0;
  std::vector<std::string> lanes;  ///< "SM 17 slot 0", "launches"
  std::vector<Span> spans;         ///< by begin, then lane
  std::vector<CounterSeries> counters;
};

/// A run on real hardware. Numbers never travel without device, plan hash and environment.
struct Measurement {
  std::string device;
  std::uint64_t plan_hash = 0;
  std::string backend;
  std::vector<double> repeats_us;
  double max_error = 0;  ///< against the oracle; negative: not compared
  std::vector<std::string> environment;
  Timeline timeline;
};

double median_us(const Measurement& measurement);

/// run/1, one JSON object; its timeline if it has one. The measurement is of this plan.
std::string write_measurement(const Measurement& measurement, const Plan& plan);
/// Strict. Throws Error (bad input) for a measurement of another plan, or whose timeline speaks of what the plan
/// doesn't have.
Measurement read_measurement(std::string_view text, const std::string& file, const Plan& plan);

/// Chrome trace-event JSON, readable by Perfetto. Lanes are threads, launches a process of their own, counters
/// counters. CHECKs that the timeline is of this plan.
std::string write_trace_events(const Timeline& timeline, const Plan& plan);

}  // namespace espalier::scheduler
