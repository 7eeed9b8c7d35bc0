// Calibration points as launches: from what a family's parameters ask for to a kernel, a grid and the numbers it is
// given, and back to the parameters of what then really runs.
//
// Pure functions. Sizes are rounded to whole tiles and rounds, so a point's parameters, which a record must hold, are
// those of the launch and not those asked for. What a device can't run is left out.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "costmodel/device_spec.h"
#include "kernels/cuda/probes/probe.h"
#include "scheduler/plan.h"

namespace espalier::kernels {

/// Memory that probes read and write, powers of two. The usual sizes are many times any L2.
struct ProbeMemory {
  std::int64_t source_bytes = std::int64_t{2} << 30;
  std::int64_t sink_bytes = std::int64_t{1} << 30;
};

enum class ProbeTable : std::uint8_t {
  none,
  pages,  ///< ids of all pages of the source in random order
  lines,  ///< a cycle through lines of 128 bytes in random order: the first word of each is where the next begins, in
          ///< words
};

enum class ProbeTimer : std::uint8_t {
  graph,         ///< nodes of a CUDA graph, one after another; the time is of one
  stream,        ///< the same as launches on a stream
  programmatic,  ///< nodes of a graph, each of which may begin before the one before it has ended
  clock,         ///< the kernel reads cycles and nanoseconds; the time is of as many cycles as the point says
};

struct ProbePoint {
  std::vector<double> parameters;  ///< in the order of the family's
  std::string kernel;              ///< a probe's name; empty: a launch of `plan`
  std::uint32_t blocks = 1, threads = 32, shared_bytes = 0, cluster = 1;
  bool cooperative = false;
  bool resident = false;  ///< all blocks must run at once: left out where they don't
  bool cold = false;      ///< L2 is overwritten before the executions of a repeat
  std::int32_t code =
      0;  ///< least architecture that its kernel must have been compiled for, as 90; for others it is empty
  bool marks = false;  ///< leaves kMark at kMarkWord
  ProbeShape shape;
  std::int64_t next_first_tile = 0;  ///< added to first_tile from one execution to the next
  ProbeTable table = ProbeTable::none;
  std::int64_t table_entries = 0;  ///< pages or lines
  ProbeTimer timer = ProbeTimer::graph;
  std::int32_t executions = 1;  ///< of a repeat
  std::int32_t repeats = 20;
  std::shared_ptr<const scheduler::Plan> plan;
  std::size_t launch = 0;                   ///< of the plan: the one that is timed
  std::shared_ptr<const ProbePoint> other;  ///< a second kernel of each execution, with its own grid and shape
  bool side_by_side = false;                ///< it runs on a stream of its own, else behind the first
};

using ProbeValues = std::vector<std::vector<double>>;  ///< by point, in the order of the family's parameters

/// Throws InvariantError for an id that is no family's.
std::vector<ProbePoint> plan_probes(std::string_view family, const ProbeValues& wanted,
                                    const costmodel::DeviceSpec& device, const ProbeMemory& memory = {});

/// One CTA works off `items` items of `tiles` KV tiles, by the smallest tile of our kernels; and `rows` rows merged
/// from `splits` each.
scheduler::Plan attention_cta_plan(std::int32_t items, std::int32_t tiles);
scheduler::Plan merge_plan(std::int32_t splits, std::int32_t rows);

/// Why a kernel compiled for `code` (90 for 9.0) tells nothing of the point; empty where it does. `mark`: what stood at
/// kMarkWord when it had run.
std::string unfit_code(const ProbePoint& point, std::int32_t code);
std::string unfit_mark(const ProbePoint& point, std::uint32_t mark);

/// Names of the probes that exist for nvcc alone.
std::vector<std::string> device_only_probes();

}  // namespace espalier::kernels
