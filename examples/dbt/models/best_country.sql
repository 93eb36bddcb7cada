select country from {{ ref('fees_by_country') }} order by fees desc limit 1
