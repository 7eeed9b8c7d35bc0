// "How to reproduce this" of a page: commands that make its plans again, or a remark that only their files hold them.
#include <gmock/gmock.h>

#include "apps/plan_page.h"
#include "command.h"
#include "scheduler/strategy.h"
#include "traces/import.h"

namespace espalier::apps {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

scheduler::Plan small_plan() {
  const traces::PrefixForest forest = traces::parse_tree("1,8|4096,200");
  const costmodel::DeviceSpec device = costmodel::find_device("h100-sxm");
  const scheduler::PlanRequest request{forest, {}, device, scheduler::KernelSet::ours, {}, {}, 1};
  return std::get<scheduler::Plan>(scheduler::make_plan(scheduler::parse_strategy("espalier"), request));
}

TEST(Reproduce, CommandOrRemarkByWhatThePlanWasMadeOf) {
  const scheduler::Plan plan = small_plan();
  EXPECT_THAT(plan_command(plan, "a.json"), StartsWith("espalier plan --tree '1,8|4096,200' "));
  const auto expect_remark = [](const scheduler::Plan& other) {
    EXPECT_THAT(
        plan_command(other, "a.json"),
        AllOf(StartsWith("# a.json: plan "), HasSubstr("which only its file holds"), Not(HasSubstr("espalier plan"))));
  };
  scheduler::Plan kernels = plan, file = plan, device = plan;
  kernels.provenance.options["kernels"] = "espalier_attend_16";
  expect_remark(kernels);
  file.forest.name = "batch.jsonl";
  expect_remark(file);
  device.provenance.device = "this machine";
  expect_remark(device);
  device.provenance.device = "h100-sxm:hbm_gbps=2000";
  EXPECT_THAT(plan_command(device, "a.json"), HasSubstr(" --device h100-sxm:hbm_gbps=2000 "));
}

class ReproducePage : public CommandTest {};

TEST_F(ReproducePage, NamesNoDeviceThatOnlyAFileHolds) {
  write("batch.jsonl", R"({"name": "batch", "parent": [-1, 0, 0], "tokens": [500, 5, 6], "leaf": [1, 2]})");
  write("mine.json", R"({"schema": "device/1", "name": "mine", "base": "h100-sxm", )"
                     R"("hbm_gbps": {"value": 4000, "origin": "datasheet", "source": "a sheet"}})");
  ASSERT_EQ(run("plan --forest batch.jsonl --strategy codec --device mine.json -o a.json").code, 0);
  ASSERT_EQ(run("plan --forest batch.jsonl --strategy fasttree -o b.json").code, 0);
  const auto r = run("export html a.json --beside b.json --device mine.json --device h100-sxm -o page.html");
  ASSERT_EQ(r.code, 0) << r.err;
  const std::string page = read("page.html");
  EXPECT_THAT(page, AllOf(HasSubstr("# a.json: plan "), HasSubstr("# b.json: plan "),
                          HasSubstr("# a-device.json: device mine, which only its file holds"),
                          HasSubstr("--beside b.json --device a-device.json --device h100-sxm -o page.html"),
                          Not(HasSubstr("FILE"))));
}

}  // namespace
}  // namespace espalier::apps
