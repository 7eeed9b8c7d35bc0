// Levels of launches one after the other, barriers between their batches.
#include "sim/closed_form.h"

#include <algorithm>
#include <map>

#include "sim/batch_time.h"

namespace espalier::sim {
namespace {

using scheduler::Launch;
using scheduler::LaunchId;
using scheduler::Phase;
using scheduler::PhaseKind;
using scheduler::PhaseStart;
using scheduler::Plan;

class Twin {
 public:
  Twin(const Plan& plan, const costmodel::DeviceSpec& device, const WorkList& list)
      : plan_(plan), device_(device), list_(list), batch_timer_(list, device) {}

  double us() {
    // Launches of one depth run at the same time.
    std::vector<std::vector<LaunchId>> levels;
    std::vector<std::size_t> depth(plan_.launches.size(), 0);
    std::map<std::int32_t, LaunchId> last;
    for (const LaunchId l : core::ids<LaunchId>(plan_.launches.size())) {
      const Launch& launch = plan_.launches[l];
      std::size_t& own = depth[l.index()];
      for (std::int32_t d = launch.dependencies.begin; d < launch.dependencies.end; ++d) {
        own = std::max(own, depth[plan_.dependencies[static_cast<std::size_t>(d)].index()] + 1);
      }
      const auto [at, fresh] = last.try_emplace(launch.stream, l);
      if (!fresh) own = std::max(own, depth[at->second.index()] + 1);
      at->second = l;
      levels.resize(std::max(levels.size(), own + 1));
      levels[own].push_back(l);
    }
    double us = 0;
    for (std::size_t level = 0; level < levels.size(); ++level) us += level_us(levels[level], level == 0);
    return us;
  }

 private:
  double level_us(const std::vector<LaunchId>& launches, bool first) {
    std::vector<CtaBatch> batches;
    double gap = first ? device_.least_launch_gap_us() : 0;
    for (const LaunchId l : launches) {
      const auto follow = plan_.launches[l].follow;
      gap = std::max(gap, follow == scheduler::Follow::stream  ? device_.launch_stream_us
                          : follow == scheduler::Follow::graph ? device_.launch_graph_us
                                                               : device_.launch_pdl_us);
      add_launch(plan_.launches[l], batches);
    }
    double us = gap;
    for (std::size_t b = 0; b < batches.size(); ++b) {
      us += batch_timer_.us(batches[b]) + (b > 0 ? device_.grid_sync_us : 0);
    }
    return us;
  }

  void add_launch(const Launch& launch, std::vector<CtaBatch>& batches) {
    std::size_t stage = 0;
    std::int64_t need = 1;
    for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
      need = std::max(need, list_.phases[static_cast<std::size_t>(p)].need);
    }
    for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
      const Phase& phase = plan_.phases[static_cast<std::size_t>(p)];
      if (p > launch.phases.begin && phase.start == PhaseStart::barrier) ++stage;
      if (batches.size() <= stage) batches.resize(stage + 1);
      CtaBatch& batch = batches[stage];
      const scheduler::Interval works = list_.phases[static_cast<std::size_t>(p)].works;
      const bool fresh = stage == 0 && launch.workers == 0 && phase.start != PhaseStart::on_arrival;
      if (phase.kind == PhaseKind::tasks && launch.workers > 0) continue;
      auto& runs =
          phase.kind == PhaseKind::steps && phase.start == PhaseStart::on_arrival ? batch.arrivals : batch.runs;
      for (std::int32_t w = works.begin; w < works.end;) {
        const Work& work = list_.works[static_cast<std::size_t>(w)];
        CtaRun run{&list_.kinds[static_cast<std::size_t>(work.kind)], fresh ? device_.cta_start_ns * 1e-3 : 0, 0};
        for (; w < work.run_end; ++w) run.count += list_.works[static_cast<std::size_t>(w)].copies;
        if (&runs == &batch.runs) {
          batch.units += static_cast<double>(run.count * need);
          batch.ctas += static_cast<double>(run.count);
        }
        runs.push_back(run);
      }
    }
    if (launch.workers > 0) add_queues(launch, need, batches);
  }

  void add_queues(const Launch& launch, std::int64_t need, std::vector<CtaBatch>& batches) {
    // By task: its work, and which batch its phase is in.
    std::map<std::int32_t, std::pair<std::size_t, const CtaKind*>> tasks;
    std::size_t stage = 0;
    for (std::int32_t p = launch.phases.begin; p < launch.phases.end; ++p) {
      const Phase& phase = plan_.phases[static_cast<std::size_t>(p)];
      if (p > launch.phases.begin && phase.start == PhaseStart::barrier) ++stage;
      if (phase.kind != PhaseKind::tasks) continue;
      const scheduler::Interval works = list_.phases[static_cast<std::size_t>(p)].works;
      for (std::int32_t w = works.begin; w < works.end; ++w) {
        const Work& work = list_.works[static_cast<std::size_t>(w)];
        tasks[work.item] = {stage, &list_.kinds[static_cast<std::size_t>(work.kind)]};
      }
    }
    for (std::int32_t q = launch.queue_begin; q < launch.queue_begin + launch.workers; ++q) {
      const scheduler::Interval items = plan_.queues[static_cast<std::size_t>(q)];
      std::vector<std::vector<CtaRun>> by_stage(batches.size());
      for (std::int32_t i = items.begin; i < items.end; ++i) {
        const auto& [at, kind] = tasks.at(plan_.queue_items[static_cast<std::size_t>(i)].task.value);
        auto& queue = by_stage[at];
        queue.push_back({kind, queue.empty() && at == 0 ? device_.cta_start_ns * 1e-3 : 0, 1});
      }
      for (std::size_t s = 0; s < by_stage.size(); ++s) {
        if (by_stage[s].empty()) continue;
        batches[s].units += static_cast<double>(need);
        batches[s].ctas += 1;
        batches[s].queues.push_back(std::move(by_stage[s]));
      }
    }
  }

  const Plan& plan_;
  const costmodel::DeviceSpec& device_;
  const WorkList& list_;
  BatchTimer batch_timer_;
};

}  // namespace

double closed_form_us(const Plan& plan, const costmodel::DeviceSpec& device, const WorkList& list) {
  return plan.launches.empty() ? 0 : Twin(plan, device, list).us();
}

}  // namespace espalier::sim
