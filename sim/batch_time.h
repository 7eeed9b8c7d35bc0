// How long a batch of CTAs takes that start on an empty device, without events: the closed-form twin's inner part.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "costmodel/device_spec.h"
#include "sim/work_list.h"

namespace espalier::sim {

/// Equal CTAs that stand next to each other in dispatch order.
struct CtaRun {
  const CtaKind* kind = nullptr;
  double start_us = 0;  ///< dispatch; nothing for work that a resident CTA takes
  std::int64_t count = 0;
};

/// What runs between two barriers: CTAs in dispatch order, those of queues, and merges on arrival.
struct CtaBatch {
  std::vector<CtaRun> runs;
  std::vector<std::vector<CtaRun>> queues;
  std::vector<CtaRun> arrivals;
  double units = 0;  ///< SM shares of all CTAs of `runs` and one of each queue
  double ctas = 0;
};

/// Room that is used again from batch to batch.
class BatchTimer {
 public:
  BatchTimer(const WorkList& list, const costmodel::DeviceSpec& device);
  ~BatchTimer();
  double us(const CtaBatch& batch);

 private:
  class Steps;
  std::unique_ptr<Steps> steps_;
};

}  // namespace espalier::sim
