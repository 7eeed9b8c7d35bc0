#include "viz/model/tables.h"

#include <gtest/gtest.h>

#include "viz_samples.h"

namespace espalier::viz {
namespace {

TEST(Tables, NodesOfASmallForest) {
  EXPECT_EQ(write_csv(node_table(traces::parse_tree("1,2|60,40"), 1024, nullptr)),
            "node,label,parent,depth,tokens,tokens_before,requests,kv_bytes,saved_bytes\n"
            "0,0,,0,60,0,2,61440,61440\n"
            "1,1,0,1,40,60,1,40960,0\n"
            "2,2,0,1,40,60,1,40960,0\n");
}

TEST(Tables, CellsWithCommasAndQuotesAreQuoted) {
  EXPECT_EQ(write_csv({{"a", "b"}, {{"x,y", "say \"hi\""}, {"line\nbreak", ""}}}),
            "a,b\n\"x,y\",\"say \"\"hi\"\"\"\n\"line\nbreak\",\n");
}

TEST(Tables, EveryRequestIsDoneWhenItsLastPartIs) {
  const scheduler::Plan plan = plan_of("cascade", "1,4,16|4096,512,128");
  const sim::SimResult result = timeline_of(plan);
  const DataTable requests = request_table(plan.forest, &plan, &result), tasks = task_table(plan, result);
  ASSERT_EQ(requests.rows.size(), 16U);
  ASSERT_EQ(tasks.rows.size(), plan.tasks.size());
  double last = 0;
  for (const auto& row : requests.rows) {
    ASSERT_EQ(row.size(), requests.headings.size());
    EXPECT_EQ(row[5], "4736");
    last = std::max(last, std::stod(row.back()));
  }
  EXPECT_NEAR(last, result.makespan_us, 0.001);
  for (const auto& row : tasks.rows) ASSERT_EQ(row.size(), tasks.headings.size());
}

TEST(Tables, TokensReadCountEveryTaskThatReadsANode) {
  for (const char* strategy : {"flash_decoding", "lean"}) {  // the second cuts tasks by heads, too
    const scheduler::Plan plan = plan_of(strategy, "1,8|2048,64");
    const DataTable nodes = node_table(plan.forest, 1024, &plan);
    EXPECT_EQ(nodes.rows[0].back(), std::to_string(8 * 2048)) << strategy;  // each request reads the root for itself
  }
}

}  // namespace
}  // namespace espalier::viz
