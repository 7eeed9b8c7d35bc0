#include "apps/view_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/file.h"
#include "core/text.h"
#include "kernels/host_model.h"
#include "traces/import.h"

namespace espalier::apps {
namespace {

using viz::Session;

bool begins_with_schema(std::string_view text, std::string_view schema) {
  constexpr std::size_t kHead = 200;
  return text.substr(0, kHead).find(schema) != std::string_view::npos;
}

/// Runs of one plan; times of a device, which are called alike, get a sentence.
bool is_run(std::string_view text) { return begins_with_schema(text, "\"run/") || begins_with_schema(text, "\"measurement/"); }

}  // namespace

void give_forest(viz::Given& given, traces::PrefixForest forest) { given.forests.push_back(std::make_shared<const traces::PrefixForest>(std::move(forest))); }

/// Side B becomes a run of the plan on show. What ran on this machine's cores is simulated in the form in which they run it.
void open_measurement(Session& session, const std::string& text, const std::string& file) {
  if (session.given.plan == nullptr) throw core::usage_error(fmt::format("{} is a measurement: open the plan that was measured first", file));
  auto measurement = std::make_shared<scheduler::Measurement>(scheduler::read_measurement(text, file, *session.given.plan));
  if (measurement->timeline.spans.empty()) throw core::bad_input(file, "a measurement with a timeline, as run --backend host writes it", "none");
  if (measurement->backend == "host") {
    const costmodel::DeviceSpec device = viz::device_of(session.settings.a, session.given);
    if (device.name == session.given.plan->provenance.device) {
      throw core::usage_error(fmt::format("{} was measured on this machine's cores: give --device host, or the file that calibrate wrote for them", file));
    }
    session.given.plan = std::make_shared<const scheduler::Plan>(kernels::as_host_plan(*session.given.plan));
  }
  measurement->timeline.plan_hash = session.given.plan->hash;
  session.given.measurement = std::move(measurement);
  session.given.measured_source = file;
  session.given.files.push_back(file);
  session.settings.measured = session.settings.given_plan = session.settings.compare = true;
}

/// A plan, a block table, or forests: whatever the file says it is. A measurement joins the plan that is there.
void open_in_view(Session& session, const std::string& file, std::optional<std::int64_t> snapshot) {
  const std::string text = core::read_file(file);
  const auto readable = [&](const char* option) { return file == "-" ? std::string() : fmt::format("{} {}", option, core::shell_quoted(file)); };
  if (is_run(text)) return open_measurement(session, text, file);
  if (begins_with_schema(text, "\"plan/")) {
    scheduler::Plan plan = scheduler::read_plan(text, file);
    session.settings.heads = plan.heads;
    session.settings.model.clear();
    const auto& all = scheduler::strategies();
    const auto same = [&](const scheduler::Strategy* s) { return s->info().name == plan.provenance.strategy; };
    if (std::any_of(all.begin(), all.end(), same)) session.settings.a.strategy = plan.provenance.strategy;
    session.settings.a.device = plan.provenance.device;
    session.settings.given_plan = true;
    give_forest(session.given, plan.forest);
    session.given.plan = std::make_shared<const scheduler::Plan>(std::move(plan));
  } else if (begins_with_schema(text, "\"block_table/")) {
    give_forest(session.given, traces::read_block_table(text, file));
    session.given.plan_source = readable("--block-table");
  } else {
    for (traces::PrefixForest& forest : traces::read_forests(text, file, snapshot)) give_forest(session.given, std::move(forest));
    session.given.plan_source = readable("--forest");
    if (session.given.forests.empty()) throw core::bad_input(file, "at least one forest", "none");
  }
  session.settings.family.clear();
  if (file != "-") session.given.files.push_back(file);
  session.given.source = file == "-" ? "" : core::shell_quoted(file);
}

bool is_measurement(const std::string& file) { return is_run(core::read_file(file)); }

}  // namespace espalier::apps
