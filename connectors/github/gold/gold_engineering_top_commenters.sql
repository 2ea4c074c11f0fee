/* weir
materialize: table
description: Who answers most, on how many issues and pull requests, and since when.
owner: engineering
version: 1
checks: [{ not_null: login }, { unique: login }]
*/
select
    "user"['login'] as login,
    count(*) as comments,
    count(distinct issue_url) as discussions,
    min(created_at) as first_comment_at,
    max(created_at) as last_comment_at
from github_issue_comments
where "user"['login'] is not null
group by "user"['login']
