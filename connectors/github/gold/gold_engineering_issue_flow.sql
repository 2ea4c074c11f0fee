/* weir
materialize: table
description: Issues opened and closed each month, and how many stayed open.
owner: engineering
version: 1
checks: [{ not_null: month }, { unique: month }]
*/
with opened as (
    select date_trunc('month', created_at) as month, count(*) as opened
    from github_issues
    group by date_trunc('month', created_at)
),
closed as (
    select date_trunc('month', closed_at) as month, count(*) as closed
    from github_issues
    where closed_at is not null
    group by date_trunc('month', closed_at)
),
flow as (
    select
        coalesce(opened.month, closed.month) as month,
        coalesce(opened.opened, 0) as opened,
        coalesce(closed.closed, 0) as closed
    from opened
    full join closed on opened.month = closed.month
)
select
    month,
    opened,
    closed,
    sum(opened - closed) over (order by month) as open_at_end
from flow
